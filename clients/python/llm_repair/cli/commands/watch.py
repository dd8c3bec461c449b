"""`llm-repair watch`: follows a repair, from its beginning, to its end."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from llm_repair.cli import connection, names
from llm_repair.cli.exits import Exit
from llm_repair.cli.outcome import follow_to_the_end


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Shows the steps of a repair, selection or evaluation until it ends; the exit code is that of its verdict."
    )
    names.add_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="at the end, writes DIR/report and DIR/model, or DIR/selection.json"
    )


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Follows."""
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        return await follow_to_the_end(connected.client, handle, console, options.out)
