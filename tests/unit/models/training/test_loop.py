"""The training loop seen from outside: who is shown the model when, and what survives a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json
from llm_repair.core.repair import DaptMethod, FullParameters, RepairMethod
from llm_repair.models.training import loop
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.batches import TokenisedSample, epoch_order
from llm_repair.models.training.checkpoints import Checkpoints
from llm_repair.models.training.dapt import DaptObjective
from llm_repair.models.training.loop import EpochObserver, TrainingRun

SAMPLES = [TokenisedSample(f"s{i}", (1, 2 + i % 3), ((5 + i % 4, 9, 3),)) for i in range(7)]
METHOD = RepairMethod(
    DaptMethod(),
    FullParameters(),
    learning_rate=1e-2,
    epochs=3,
    batch_samples=3,
    validation_share=0.0,
    checkpoint_every_steps=2,
)
"""Three steps an epoch, of 3, 3 and 1 samples; nine in all, checkpoints after 2, 4, 6 and 8."""


class Crash(Exception):
    """The process ends here."""


@dataclass
class CrashingContext:
    """A step context that ends the run when it reports the given optimizer step."""

    workdir: Path
    key: str = "0" * 64
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = ()
    crashes_after: int | None = None
    notes: list[str] = field(default_factory=list)
    accelerator_s: float = 0.0

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if unit == "optimizer steps" and done == self.crashes_after:
            raise Crash

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append(phrase)

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        self.accelerator_s += accelerator_s

    def raise_if_cancelled(self) -> None:
        pass


@dataclass
class WeightSums:
    """An observer that adds up a weight of the model, and remembers how it was called."""

    target: TrainableModel
    total: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    steps: list[int] = field(default_factory=list)
    ready: list[bool] = field(default_factory=list)

    def after_epoch(self, step: int) -> None:
        self.steps.append(step)
        self.ready.append(not self.target.model.training and not torch.is_grad_enabled())
        self.total = self.total + self.target.parameters["model.embed_tokens.weight"].double().sum()

    @property
    def gathered(self) -> Mapping[str, Tensor]:
        return {"total": self.total}

    def restore(self, gathered: Mapping[str, Tensor]) -> None:
        self.total = gathered["total"]


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


def run_of(target: TrainableModel, context: CrashingContext, observer: EpochObserver | None) -> TrainingRun:
    store = ArtifactStore(f"file://{context.workdir}/store")
    return TrainingRun(
        target,
        SAMPLES,
        [],
        objective=DaptObjective(),
        method=METHOD,
        seed=5,
        context=context,
        checkpoints=Checkpoints(store, context, base_digest="base", config_digest="config"),
        observer=observer,
    )


def test_observer_sees_the_model_at_the_end_of_every_epoch_last_one_included(tmp_path: Path) -> None:
    """Three steps an epoch, so epochs end with steps 3, 6 and 9; always in evaluation mode and without gradient."""
    target = trainable()
    observer = WeightSums(target)

    result = run_of(target, CrashingContext(tmp_path), observer).run()

    assert observer.steps == [3, 6, 9]
    assert observer.ready == [True, True, True]
    assert result.seconds["observation"] > 0


@pytest.mark.parametrize(("crashes_after", "seen_again"), [(2, [3, 6, 9]), (3, [3, 6, 9]), (5, [6, 9]), (8, [9])])
def test_what_an_observer_gathered_survives_a_crash_to_the_bit(
    tmp_path: Path, crashes_after: int, seen_again: list[int]
) -> None:
    """A crash after step 3 goes on from the checkpoint of step 2, and so sees the first epoch's end again."""
    undisturbed = WeightSums(trainable())
    run_of(undisturbed.target, CrashingContext(tmp_path / "undisturbed"), undisturbed).run()
    with pytest.raises(Crash):
        crashing = WeightSums(trainable())
        run_of(crashing.target, CrashingContext(tmp_path, crashes_after=crashes_after), crashing).run()
    resumed, context = WeightSums(trainable()), CrashingContext(tmp_path)

    run_of(resumed.target, context, resumed).run()

    assert context.notes == ["resumed from checkpoint"]
    assert resumed.steps == seen_again
    assert torch.equal(resumed.total, undisturbed.total)


def test_run_without_an_observer_trains_the_same_weights(tmp_path: Path) -> None:
    alone, watched = trainable(), trainable()

    run_of(alone, CrashingContext(tmp_path / "alone"), None).run()
    run_of(watched, CrashingContext(tmp_path / "watched"), WeightSums(watched)).run()

    for name, weights in alone.parameters.items():
        assert torch.equal(weights, watched.parameters[name]), name


def test_order_of_an_epoch_is_worked_out_once_for_all_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing every id at every step would cost a pool of n samples n²/batch hashes an epoch."""
    epochs: list[int] = []

    def counting(ids: list[str], *, seed: int, epoch: int) -> list[int]:
        epochs.append(epoch)
        return epoch_order(ids, seed=seed, epoch=epoch)

    monkeypatch.setattr(loop, "epoch_order", counting)

    run_of(trainable(), CrashingContext(tmp_path), None).run()

    assert epochs == [0, 1, 2]


def test_training_on_a_processor_costs_no_accelerator_seconds(tmp_path: Path) -> None:
    context = CrashingContext(tmp_path)

    run_of(trainable(), context, None).run()

    assert context.accelerator_s == 0
