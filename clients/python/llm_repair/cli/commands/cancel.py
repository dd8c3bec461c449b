"""`llm-repair cancel`: asks a repair to stop, and shows what it had reached."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection, names, words
from llm_repair.cli.exits import Exit
from llm_repair.cli.settling import PARTIAL_FOLDER, show_partial, until_settled


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Asks a repair to stop, and waits until it has. Best effort: it may still succeed. The best model that its "
        "training had reached is kept, but never measured; of a repair that is cancelled already it is shown again."
    )
    names.add_argument(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"writes that model into DIR/{PARTIAL_FOLDER}")


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Cancels."""
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        repair = await until_settled(handle, await handle.cancel())
        console.print(Text(f"{words.short_name(repair.name)} {words.repair_state(repair.state)}"))
        await show_partial(handle, repair, console, options.out)
    return Exit.PASS
