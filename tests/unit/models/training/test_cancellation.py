"""A run that is cancelled anywhere and resumed ends as one that was left alone, to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import StepCancelled, StorageFull
from llm_repair.core.execution import TRAINING_MEASURES, Json
from llm_repair.core.repair import DaptMethod, DpoMethod, FullParameters, Method, RepairMethod
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.checkpoints import Checkpoints
from llm_repair.models.training.loop import TrainingResult, TrainingRun
from llm_repair.trainer.methods import objective_of

SAMPLES = [TokenisedSample(f"s{i}", (1, 2 + i % 3), ((5 + i % 4, 9, 3), (4, 7 + i % 2))) for i in range(9)]
STEPS = 6
"""Seven training samples, four a step, three epochs; validated after steps 2, 3, 5 and 6."""


def method_of(objective: Method) -> RepairMethod:
    return RepairMethod(
        objective,
        FullParameters(),
        learning_rate=1e-2,
        epochs=3,
        batch_samples=4,
        validations=4,
        checkpoint_every_steps=4,
    )


@dataclass
class CancellingContext:
    """A step context that is cancelled at the n-th look, or when it reports a step."""

    workdir: Path
    at_look: int | None = None
    at_step: int | None = None
    key: str = "0" * 64
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = ()
    looks: int = 0
    step: int = 0
    notes: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)
    measures: list[Mapping[str, float]] = field(default_factory=list)

    def progress(
        self, done: float, total: float, unit: str, *, stage: str = "", measures: Mapping[str, float] | None = None
    ) -> None:
        if unit == "optimizer steps":
            self.step = int(done)
            self.measures.append(measures or {})

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append((phrase, fields))

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        pass

    def raise_if_cancelled(self) -> None:
        self.looks += 1
        if self.looks == self.at_look or (self.at_step is not None and self.step >= self.at_step):
            raise StepCancelled


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    context: CancellingContext
    target: TrainableModel
    steps: int
    result: TrainingResult | None
    """None if it was cancelled."""


def attempt(
    root: Path,
    objective: Method,
    *,
    at_look: int | None = None,
    at_step: int | None = None,
    observer: type[SlowSums] | None = None,
) -> Ended:
    """Runs one attempt on the store under `root`, cancelled or to the end."""
    context, target = CancellingContext(root, at_look, at_step), trainable()
    run = TrainingRun(
        target,
        SAMPLES[:7],
        [] if observer else SAMPLES[7:],
        objective=objective_of(objective),
        method=method_of(objective),
        seed=5,
        context=context,
        checkpoints=Checkpoints(ArtifactStore(f"file://{root}/store"), context, "base", "config"),
        observer=observer(target, context) if observer else None,
    )
    try:
        result = run.run()
    except StepCancelled:
        return Ended(context, target, run.steps_taken, None)
    return Ended(context, target, run.steps_taken, result)


def trainable() -> TrainableModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    return make_trainable(LlamaForCausalLM(config), FullParameters(), seed=0)


def settled(ended: Ended) -> dict[str, Any]:
    """Returns everything that two equal runs have in common, weights included."""
    assert ended.result is not None
    history = ended.result.history
    curve = [{**dataclasses.asdict(point), "tokens_per_s": 0} for point in history.curve]
    weights = {name: value.detach().numpy().tobytes() for name, value in ended.target.parameters.items()}
    return {"curve": curve, "validations": history.validations, "kept": ended.result.kept_step, "weights": weights}


def resumed_from(ended: Ended) -> list[Json]:
    return [fields["step"] for phrase, fields in ended.context.notes if phrase == "resumed from checkpoint"]


@pytest.mark.parametrize("objective", [DpoMethod(), DaptMethod()])
def test_cancelled_at_any_look_and_resumed_equals_left_alone_and_pays_no_step_twice(
    tmp_path: Path, objective: Method
) -> None:
    """Every place where a run looks: before the first step, within one, and within a validation."""
    alone = attempt(tmp_path / "alone", objective)
    stopped_at: list[int] = []
    for look in range(1, alone.context.looks + 1):
        cancelled = attempt(tmp_path / str(look), objective, at_look=look)

        resumed = attempt(tmp_path / str(look), objective)

        assert cancelled.result is None
        assert resumed_from(resumed) == ([cancelled.steps] if cancelled.steps else [])
        assert settled(resumed) == settled(alone)
        stopped_at.append(cancelled.steps)
    assert set(stopped_at) == set(range(STEPS + 1))


def test_cancelled_again_and_again_a_run_still_gets_to_its_end(tmp_path: Path) -> None:
    alone = attempt(tmp_path / "alone", DpoMethod())
    for at_step in range(1, STEPS):
        assert attempt(tmp_path / "tried", DpoMethod(), at_step=at_step).steps == at_step

    assert settled(attempt(tmp_path / "tried", DpoMethod())) == settled(alone)


class SlowSums:
    """An observer that looks for a cancellation amid what it gathers."""

    def __init__(self, target: TrainableModel, context: CancellingContext) -> None:
        self._target = target
        self._context = context
        self._sums = torch.zeros(2, dtype=torch.float64)

    def after_epoch(self, step: int) -> None:
        for place in range(2):
            self._sums[place] += self._target.parameters["model.embed_tokens.weight"].double().sum() * step
            self._context.raise_if_cancelled()

    @property
    def gathered(self) -> Mapping[str, Tensor]:
        return {"sums": self._sums.clone()}

    def restore(self, gathered: Mapping[str, Tensor]) -> None:
        self._sums = gathered["sums"].clone()


def test_what_an_observer_had_gathered_by_half_is_not_kept(tmp_path: Path) -> None:
    """Epochs end with steps 2, 4 and 6. A run cancelled amid an observation goes on from a step before it."""
    seen: list[SlowSums] = []

    class Seen(SlowSums):
        def __init__(self, target: TrainableModel, context: CancellingContext) -> None:
            super().__init__(target, context)
            seen.append(self)

    alone = attempt(tmp_path / "alone", DaptMethod(), observer=Seen)
    expected = seen[-1].gathered["sums"]
    for look in range(1, alone.context.looks + 1):
        attempt(tmp_path / str(look), DaptMethod(), at_look=look, observer=Seen)

        resumed = attempt(tmp_path / str(look), DaptMethod(), observer=Seen)

        assert settled(resumed) == settled(alone)
        assert torch.equal(seen[-1].gathered["sums"], expected)


def test_a_store_without_space_does_not_turn_a_cancellation_into_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **named: object) -> None:
        raise StorageFull

    monkeypatch.setattr(ArtifactStore, "put_checkpoint", full)

    cancelled = attempt(tmp_path, DpoMethod(), at_step=3)

    assert cancelled.result is None
    assert cancelled.context.notes == [("left no checkpoint", {"step": 3, "reason": "STORAGE_FULL"})]


def test_a_run_tells_the_latest_of_what_it_watches(tmp_path: Path) -> None:
    ended = attempt(tmp_path, DpoMethod())

    assert ended.result is not None
    told, history = ended.context.measures, ended.result.history
    assert told[0] == {}
    assert set(told[1]) >= set(TRAINING_MEASURES) - {"validation_loss"}
    assert "validation_loss" not in told[1]
    last = history.curve[-1]
    assert told[-1] == {
        **last.measures,
        "loss": last.loss,
        "learning_rate": last.learning_rate,
        "gradient_norm": last.gradient_norm,
        "tokens_per_s": last.tokens_per_s,
        "validation_loss": history.validations[-1].loss,
    }
    assert "reward_margin" in told[-1]
