"""The selected samples of a request, as ids, and as rows where they are wanted."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llm_repair.client._artifacts import download
from llm_repair.client._errors import FailedPrecondition
from llm_repair.client._transport import Transport
from llm_repair.v1 import coordinator_pb2 as pb

_POOL_OUTPUTS: Final = (("import.pool", "dataset"), ("pool", "pool"))
"""Step and role of a pool that was brought, and of one that was generated."""


@dataclass(frozen=True)
class Selection:
    """The samples that were selected, and what the selection looks like."""

    ids: tuple[str, ...]
    """In rank order: every beginning is the selection of a smaller budget."""
    clusters: tuple[int | None, ...]
    """Of each id; None where the strategy does not cluster."""
    diagnostics: Mapping[str, Any]
    """Counts, clusters and histograms; ids only, never texts."""


async def read_selection(transport: Transport, repair: pb.Repair) -> Selection:
    """Fetches the selection of a repair; see `RepairHandle.selection`."""
    with tempfile.TemporaryDirectory(prefix="llm-repair-") as folder:
        path = await download(transport, _output(repair, ("select", "selection")), Path(folder) / "selection.json")
        content = json.loads(path.read_text(encoding="utf-8"))
    return Selection(tuple(content["ids"]), tuple(content["clusters"]), content["diagnostics"])


async def write_selected_rows(transport: Transport, repair: pb.Repair, ids: tuple[str, ...], into: Path) -> Path:
    """Writes the selected rows of the pool, in rank order; see `RepairHandle.selected_rows`."""
    with tempfile.TemporaryDirectory(prefix="llm-repair-") as folder:
        pool = await download(transport, _output(repair, *_POOL_OUTPUTS), Path(folder) / "pool.jsonl")
        await asyncio.to_thread(_pick, pool, ids, into)
    return into


def _pick(pool: Path, ids: Sequence[str], into: Path) -> None:
    rank = {name: place for place, name in enumerate(ids)}
    lines: list[bytes] = [b""] * len(ids)
    with pool.open("rb") as file:
        for line in file:
            place = rank.get(json.loads(line)["id"])
            if place is not None:
                lines[place] = line
    into.write_bytes(b"".join(lines))


def _output(repair: pb.Repair, *places: tuple[str, str]) -> str:
    """Returns the digest of the first of these outputs that there is."""
    for step in repair.steps:
        for name, role in places:
            if step.name == name and role in step.outputs:
                return step.outputs[role].digest
    state = pb.RepairState.Name(repair.state).removeprefix("REPAIR_STATE_")
    raise FailedPrecondition(f"a request that is {state} has no {places[0][1]} yet", metadata={"state": state})
