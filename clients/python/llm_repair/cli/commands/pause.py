"""`llm-repair pause`: has a repair save its state and free its worker."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection, names, words
from llm_repair.cli.exits import Exit
from llm_repair.cli.settling import until_settled


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Has a repair save its state and free its worker, and waits until it has. Training goes on from there when it "
        "is resumed; any other step begins again, with the same result."
    )
    names.add_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Pauses."""
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        repair = await until_settled(handle, await handle.pause())
    name = words.short_name(repair.name)
    console.print(Text(f"{name} {words.repair_state(repair.state)}; to go on: llm-repair resume {name}"))
    return Exit.PASS
