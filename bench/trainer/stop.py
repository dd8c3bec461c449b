"""`trainer.stop.<model>.<trained>`: how long a repair that is cancelled or paused goes on after its optimizer step.

The repair step is told to stop at the end of its second optimizer step. Seconds run until it has ended: with a
resumable checkpoint and the best model so far in a store on the same disk, written through (fsync). The size is in MB
of 10^6 bytes: the checkpoint, which has four bytes for weight and two moments of each trained parameter, and the model.
The limit is writing so many zeros to the same disk, through likewise, right after. `value_agrees`: at most 5 seconds.

Quick: a random Llama of 2 million parameters.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.models import STORE, WORDS, QuietContext, demo_model, demo_prompts, make_tiny_llama
from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import StepCancelled
from llm_repair.core.repair import DpoMethod, FullParameters, LoraParameters, RepairMethod, Trainable
from llm_repair.core.steps import RepairStep, step_key
from llm_repair.trainer import repair

_PAIRS = 48
_LAST_STEP = 2
_SECONDS_TO_REACH = 5.0
_ROUNDS = 3
_CHUNK = 8 * 2**20
_TRAINED: dict[str, Trainable] = {
    "top_third": FullParameters(top_share=1 / 3),
    "lora": LoraParameters(),
    "full": FullParameters(),
}


@dataclass
class _Stop:
    """When the step was told to stop."""

    at: float = 0.0


@dataclass(frozen=True)
class _Stopping(QuietContext):
    """Cancels after a few optimizer steps."""

    stop: _Stop = field(kw_only=True)

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if unit == "optimizer steps" and done == _LAST_STEP:
            self.stop.at = time.perf_counter()

    def raise_if_cancelled(self) -> None:
        if self.stop.at:
            raise StepCancelled


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields a line for each choice of what is trained."""
    STORE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STORE.parent) as folder:
        model = Path(folder) / "model"
        if quick:
            make_tiny_llama(model)
        else:
            model = demo_model()
        prompts = WORDS[:_PAIRS] if quick else [row.prompt for row in demo_prompts(_PAIRS)]
        for name, trained in _TRAINED.items():
            rounds: list[tuple[float, float]] = []
            written = 0
            for turn in range(_ROUNDS):
                seconds, written = _stopped(Path(folder) / f"{name}-{turn}", model, prompts, trained)
                shutil.rmtree(Path(folder) / f"{name}-{turn}")
                rounds.append((seconds, _write_through(Path(folder) / "zeros", written) / seconds))
            bench = f"trainer.stop.{'2m' if quick else '135m'}.{name}"
            seconds, share = (statistics.median(column) for column in zip(*rounds, strict=True))
            yield Line(bench, "ours", written / 1e6, seconds, 1.0, share, seconds <= _SECONDS_TO_REACH)


def _stopped(folder: Path, model: Path, prompts: Sequence[str], trained: Trainable) -> tuple[float, int]:
    """Returns the seconds from the order to the end, and the bytes that the attempt left."""
    store = ArtifactStore(folder.as_uri())
    rows = [Row(f"p{place}", prompt, " the river", " a school of") for place, prompt in enumerate(prompts)]
    step = RepairStep(
        model_digest=store.put_tree(model).digest,
        pool_digest=write_rows(store, rows).digest,
        selection_digest=store.put_bytes(json.dumps({"ids": [row.id for row in rows]}).encode()).digest,
        method=RepairMethod(DpoMethod(), trainable=trained),
        seed=1,
    )
    key, stop = step_key(step), _Stop()
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        context = _Stopping(key, Path(workdir), threads=2, stop=stop)
        try:
            repair.run(step, store, context)
        except StepCancelled:
            seconds = time.perf_counter() - stop.at
        else:
            raise RuntimeError("the repair was told to stop and went on to its end")
    left = [*(store.stat(record.digest) for record in store.checkpoints(key)), *store.partials(key).values()]
    return seconds, sum(artifact.size_bytes for artifact in left)


def _write_through(path: Path, size: int) -> float:
    """Returns the seconds of writing so many zeros so that they survive a power cut."""
    start = time.perf_counter()
    with path.open("wb") as file:
        for at in range(0, size, _CHUNK):
            file.write(bytes(min(_CHUNK, size - at)))
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


if __name__ == "__main__":
    area.main(__doc__, lines)
