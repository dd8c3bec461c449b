"""`llm-repair evaluate`: prints what the evaluations of a finished repair measured."""

from __future__ import annotations

import argparse

from rich.console import Console

from llm_repair.cli import connection, heart, names
from llm_repair.cli.exits import Exit, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Prints every metric of a finished repair, base and repaired model and the paired change."
    names.add_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Prints; no verdict is passed on the numbers."""
    if _is_model(options.name):
        # The contract has no job that only evaluates; a repair with a token budget of one would be a lie.
        raise UsageError(
            "NOT CARRIED OUT: evaluating a model without repairing it; the contract has no such job. "
            "`llm-repair evaluate NAME` prints the evaluations of a finished repair, its base model's included."
        )
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        report = await connected.client.get_report(handle.name)
    heart.print_metrics(console, report.metrics)
    return Exit.PASS


def _is_model(text: str) -> bool:
    return ":" in text or text.startswith((".", "/", "~"))
