"""`llm-repair down`: ends the embedded stack."""

from __future__ import annotations

import argparse

from rich.console import Console

from llm_repair.cli import embedded
from llm_repair.cli.exits import Exit
from llm_repair.cli.home import Home


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Ends the embedded stack; unfinished repairs go on at the next start."


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Ends it."""
    was_running = await embedded.stop(Home(options.home))
    console.print("stopped; unfinished repairs go on at the next start" if was_running else "nothing is running")
    return Exit.PASS
