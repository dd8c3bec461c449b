"""`trainer.overhead`: what a repair by DPO at default settings spends beside training.

One run of the repair step's loop on the demo's model and 122 pairs (what the demo selects): checkpoints go to a store
on disk, events as JSON lines through a pipe to another process, no more often than a worker sends them. Seconds are
those of checkpoints and validation, as the loop reports them, and of the calls that report events; the size is the
number of optimizer steps. The limit is the run without them, so 1 - `limit_share` is the share of the wall time that
they take. `value_agrees`: it is at most 3 %. The lines below say what it consists of; their ratio is their part of it.

Quick: a random Llama of 0.2 million parameters and 48 pairs; its steps take milliseconds, so its share says nothing.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.models import STORE, QuietContext
from bench.trainer.ours import run_training
from bench.trainer.subjects import Size, subject
from llm_repair.core.execution import Json
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.models.training.batches import hold_out

BENCH = "trainer.overhead"
_PAIRS = 122
_QUICK_PAIRS = 48
_SHARE_TO_REACH = 0.03
_PROGRESS_EVERY_S = 0.5
"""A worker sends progress no more often."""


@dataclass
class _Spent:
    """What sending took so far."""

    seconds: float = 0.0
    last_at: float = 0.0
    """When progress was sent last."""


@dataclass(frozen=True)
class _Reporting(QuietContext):
    """Sends events as a worker does, and measures what that takes."""

    pipe: IO[bytes] = field(kw_only=True)
    spent: _Spent = field(kw_only=True)

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        with self._measured():
            now = time.perf_counter()
            if now - self.spent.last_at >= _PROGRESS_EVERY_S or done >= total:
                self.spent.last_at = now
                self._send({"done": done, "total": total, "unit": unit, "stage": stage})

    def note(self, phrase: str, **fields: Json) -> None:
        with self._measured():
            self._send({"phrase": phrase, "fields": fields})

    def _send(self, event: Json) -> None:
        self.pipe.write(json.dumps(event).encode() + b"\n")
        self.pipe.flush()

    @contextmanager
    def _measured(self) -> Generator[None]:
        start = time.perf_counter()
        yield
        self.spent.seconds += time.perf_counter() - start


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the line of all that is not training, and a line for each part of it."""
    subject_ = subject(Size.TINY if quick else Size.DEMO, pairs=_QUICK_PAIRS if quick else _PAIRS)
    method = RepairMethod(DpoMethod())
    held_out = hold_out([pair.id for pair in subject_.pairs], share=method.validation_share)
    STORE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=STORE.parent) as scratch,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader,
    ):
        assert reader.stdin is not None
        spent = _Spent()
        context = _Reporting("bench", Path(scratch), pipe=reader.stdin, spent=spent)
        start = time.perf_counter()
        result = run_training(
            subject_.model(),
            [pair for pair in subject_.pairs if pair.id not in held_out],
            [pair for pair in subject_.pairs if pair.id in held_out],
            method,
            context,
            Path(scratch) / "store",
        )
        wall_s = time.perf_counter() - start
    parts = {name: result.seconds.get(name, 0.0) for name in ("checkpoints", "validation")} | {"events": spent.seconds}
    yield from _lines(parts, wall_s, len(result.history.curve))


def _lines(parts: dict[str, float], wall_s: float, steps: int) -> Iterator[Line]:
    beside_s = sum(parts.values())
    yield Line(
        bench=BENCH,
        contender="ours",
        size=steps,
        seconds=beside_s,
        ratio_to_ours=1.0,
        limit_share=1 - beside_s / wall_s,
        value_agrees=beside_s <= _SHARE_TO_REACH * wall_s,
    )
    for name, seconds in parts.items():
        yield Line(BENCH, f"of that {name}", steps, seconds, seconds / beside_s, 1 - seconds / wall_s)


if __name__ == "__main__":
    area.main(__doc__, lines)
