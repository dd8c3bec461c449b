"""`llm-repair report`: prints the heart of a report, fetches it, opens its page."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llm_repair.cli import connection, heart, names
from llm_repair.cli.exits import Exit
from llm_repair.cli.outcome import fetch


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Prints verdict, reasons and metrics of a finished repair."
    names.add_argument(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="writes DIR/report and DIR/model")
    parser.add_argument("--open", action="store_true", help="opens report.html in the browser")


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Prints; the verdict does not change the exit code, which `gate` is for."""
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        report = await connected.client.get_report(handle.name)
        heart.print_metrics(console, report.metrics)
        heart.print_verdict(console, report.gate)
        if options.out is not None:
            await fetch(handle, await handle.get(), options.out, console)
        if options.open:
            folder = options.out / "report" if options.out else _temporary_folder()
            page = await handle.report(folder) / "report.html"
            console.print(Text(str(page)), soft_wrap=True)
            webbrowser.open(page.absolute().as_uri())
    return Exit.PASS


def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="llm-repair-")) / "report"
