"""`llm-repair cancel`: asks a repair to stop."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection, names, words
from llm_repair.cli.exits import Exit


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Asks a repair to stop. Best effort: it may still succeed."
    names.add_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Cancels."""
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        repair = await handle.cancel()
    console.print(Text(f"{words.short_name(repair.name)} {words.repair_state(repair.state)}"))
    return Exit.PASS
