"""What the end of a repair prints, fetches and exits with; and what Ctrl-C says."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from llm_repair.cli import heart, selections, words
from llm_repair.cli.exits import Exit, exit_for_verdict
from llm_repair.cli.progress import follow
from llm_repair.cli.settling import show_partial
from llm_repair.client import RepairCancelled, RepairClient, RepairFailed, RepairHandle
from llm_repair.v1 import coordinator_pb2 as pb

SELECTION_FILE: Final = "selection.json"


async def follow_to_the_end(client: RepairClient, handle: RepairHandle, console: Console, out: Path | None) -> Exit:
    """Follows a repair, prints its heart, fetches what it made into `out`, and returns the exit code of its verdict.

    Of one that ends with its selection, prints that, and passes. An evaluation that names no criteria is a mere
    measurement, and passes too: what the default policy says of it is printed and decides nothing.

    Raises:
      RepairFailed: it failed.
      RepairCancelled: it was cancelled.
    """
    repair = await until_ended(handle, console)
    if repair is None:
        return Exit.INTERRUPTED
    if repair.spec.goal == pb.REPAIR_GOAL_SELECTION:
        if out is not None:
            selections.check_place(out / SELECTION_FILE)
        await selections.show(handle, repair, console, out / SELECTION_FILE if out else None)
        return Exit.PASS
    report = await client.get_report(repair.name)
    heart.print_metrics(console, report.metrics)
    heart.print_verdict(console, report.gate)
    if out is not None:
        await fetch(handle, repair, out, console)
    else:
        name = words.short_name(repair.name)
        console.print(Text(f"report: llm-repair report {name} --open    files: llm-repair report {name} --out DIR"))
    is_mere_measurement = repair.spec.goal == pb.REPAIR_GOAL_EVALUATION and not repair.spec.gate.criteria
    return Exit.PASS if is_mere_measurement else exit_for_verdict(report.gate.verdict)


async def until_ended(handle: RepairHandle, console: Console) -> pb.Repair | None:
    """Follows a repair until it has succeeded, and returns it; None if Ctrl-C ended the following.

    Raises:
      RepairFailed: it failed.
      RepairCancelled: it was cancelled.
    """
    try:
        repair = await follow(handle, console)
    except asyncio.CancelledError:
        # Only Ctrl-C cancels the task of a command; swallowing it here ends the command in order.
        exit_at_once_when_interrupted_again()
        print_detached(handle.name, console)
        return None
    if repair.state == pb.REPAIR_STATE_FAILED:
        raise RepairFailed(repair.name, repair.error)
    if repair.state == pb.REPAIR_STATE_CANCELLED:
        await show_partial(handle, repair, console, None)
        raise RepairCancelled(repair.name)
    return repair


async def fetch(handle: RepairHandle, repair: pb.Repair, out: Path, console: Console) -> None:
    """Downloads `report/` and `model/` into a folder."""
    parts = [await handle.report(out / "report")]
    if repair.model.digest:
        parts.append(await handle.model(out / "model"))
    for part in parts:
        console.print(Text(f"wrote {part}"), soft_wrap=True)


def exit_at_once_when_interrupted_again() -> None:
    """Lets the next Ctrl-C kill this process, whatever it is waiting for."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def print_detached(name: str, console: Console) -> None:
    """Says that the repair goes on, and how to see it again or stop it."""
    short = words.short_name(name)
    console.print(Text(f"detached; the repair goes on. Again: llm-repair watch {short}"), soft_wrap=True)
    console.print(Text(f"to stop it: llm-repair cancel {short}"), soft_wrap=True)
