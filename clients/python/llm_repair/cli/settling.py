"""Waits for what was asked of a repair to have happened, and shows what a cancelled one left."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from llm_repair.cli import words
from llm_repair.client import RepairHandle
from llm_repair.v1 import coordinator_pb2 as pb

PARTIAL_FOLDER: Final = "partial_model"
_PASSING: Final = (pb.REPAIR_STATE_PAUSING, pb.REPAIR_STATE_CANCELLING)
# A training step is finished first, and what there is is saved; that may take minutes, but not for ever.
_LONGEST_S: Final = 300.0
_POLL_S: Final = 0.5


async def until_settled(handle: RepairHandle, repair: pb.Repair) -> pb.Repair:
    """Waits while a repair is pausing or cancelling, some minutes at most, and returns it as it is then."""
    give_up_at = time.monotonic() + _LONGEST_S
    while repair.state in _PASSING and time.monotonic() < give_up_at:
        await asyncio.sleep(_POLL_S)
        repair = await handle.get()
    return repair


async def show_partial(handle: RepairHandle, repair: pb.Repair, console: Console, out: Path | None) -> None:
    """Fetches what a cancelled repair had reached into a folder, or says how to; nothing if it left nothing."""
    if not repair.partial_model.digest:
        return
    if out is not None:
        folder = await handle.partial_model(out / PARTIAL_FOLDER)
        console.print(Text(f"wrote {folder}, the best model it had reached; it was not measured"), soft_wrap=True)
        return
    size, name = words.size(repair.partial_model.size_bytes), words.short_name(repair.name)
    place = f"artifact:{repair.partial_model.digest} ({size})"
    console.print(Text(f"the best model it had reached, not measured: {place}"), soft_wrap=True)
    console.print(Text(f"to fetch it: llm-repair cancel {name} --out DIR"), soft_wrap=True)
