"""`llm-repair resume`: has a paused repair go on."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection, names, words
from llm_repair.cli.exits import Exit


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Has a paused repair go on from where it stopped."
    names.add_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Resumes."""
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        repair = await handle.resume()
    name = words.short_name(repair.name)
    console.print(Text(f"{name} {words.repair_state(repair.state)}; to follow it: llm-repair watch {name}"))
    return Exit.PASS
