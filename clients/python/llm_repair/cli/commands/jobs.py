"""`llm-repair jobs`: lists repairs, selections and evaluations, newest first."""

from __future__ import annotations

import argparse
import contextlib
from datetime import UTC
from typing import Final

from rich.console import Console

from llm_repair.cli import connection, words
from llm_repair.cli.exits import Exit
from llm_repair.cli.tables import print_rows
from llm_repair.v1 import coordinator_pb2 as pb

_HEADER: Final = ("name", "state", "verdict", "goal", "steps", "created", "model")


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = "Lists repairs, selections and evaluations, newest first."
    parser.add_argument("--limit", type=int, default=20, help="at most so many (default 20)")


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Lists."""
    rows: list[tuple[str, ...]] = []
    async with (
        connection.connected(options) as connected,
        contextlib.aclosing(connected.client.list_repairs(page_size=min(max(options.limit, 1), 100))) as repairs,
    ):
        async for repair in repairs:
            if len(rows) >= options.limit:
                break
            rows.append(_row(repair))
    print_rows(console, _HEADER, rows, right="steps")
    return Exit.PASS


def _row(repair: pb.Repair) -> tuple[str, ...]:
    committed = sum(step.state == pb.STEP_STATE_COMMITTED for step in repair.steps)
    created = repair.create_time.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        words.short_name(repair.name),
        words.repair_state(repair.state),
        words.verdict(repair.verdict),
        words.goal(repair.spec.goal),
        f"{committed}/{len(repair.steps)}",
        created if repair.HasField("create_time") else "",
        words.plain(repair.spec.model.reference),
    )
