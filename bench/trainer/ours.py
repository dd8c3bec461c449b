"""Runs the product's training loop as the repair step does, with samples given as tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedModel

from bench.models import QuietContext
from bench.trainer.step_clock import StepClock
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import StepContext
from llm_repair.core.repair import RepairMethod
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.checkpoints import Checkpoints
from llm_repair.models.training.loop import TrainingResult, TrainingRun
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.trainer.methods import objective_of

SEED = 1


@dataclass(frozen=True)
class _Clocked(QuietContext):
    clock: StepClock = field(kw_only=True)

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if unit == "optimizer steps" and done > 0:
            self.clock.end_step()


def training_losses(
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    method: RepairMethod,
    clock: StepClock,
    *,
    ranks: Ranks = ALONE,
) -> list[float]:
    """Trains and returns the loss of every step; the reference pass of DPO comes before the clock runs."""
    with tempfile.TemporaryDirectory() as scratch:
        clock.start_run()
        context = _Clocked("bench", Path(scratch), clock=clock)
        result = run_training(model, samples, [], method, context, Path(scratch) / "store", ranks=ranks)
    return [point.loss for point in result.history.curve]


def run_training(
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    held_out: Sequence[TokenisedSample],
    method: RepairMethod,
    context: StepContext,
    store: Path,
    *,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Trains with everything the repair step does; checkpoints go to a store in an existing or new folder."""
    store.mkdir(exist_ok=True)
    checkpoints = Checkpoints(ArtifactStore(store.as_uri()), context, base_digest="base", config_digest="config")
    return TrainingRun(
        make_trainable(model, method.trained, seed=SEED),
        samples,
        held_out,
        objective=objective_of(method.objective),
        method=method,
        seed=SEED,
        context=context,
        checkpoints=checkpoints,
        ranks=ranks,
    ).run()
