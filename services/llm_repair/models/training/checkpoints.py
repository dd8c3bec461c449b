"""Resumable training checkpoints: what is in one, how it is written, and which one a run continues from.

A checkpoint is a folder of safetensors and JSON only. It belongs to one base model and one configuration; one
that is torn or foreign is refused with a note, and an older one, or the start, is taken instead.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm_repair.artifacts.store import ArtifactStore, CheckpointRecord
from llm_repair.core.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    CheckpointForeign,
    CheckpointIncomplete,
    RepairError,
)
from llm_repair.core.execution import StepContext
from llm_repair.models.training.faults import full_disk_named
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.models.training.sharding import like, whole

# pyright: reportUnknownVariableType=false
# safetensors annotates paths in part only.

KEEP = 2
"""Checkpoints kept per step: the newest, and one to fall back on if it is torn."""

_STATE, _WEIGHTS, _OPTIMIZER, _BEST, _REFERENCE, _OBSERVED = (
    "state.json",
    "weights.safetensors",
    "optimizer.safetensors",
    "best.safetensors",
    "reference.safetensors",
    "observed.safetensors",
)


@dataclass(frozen=True)
class CurvePoint:
    """One optimizer step in the training curve."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    """l2 norm before clipping."""
    tokens: int
    tokens_per_s: float
    measures: Mapping[str, float]
    """The method's own, such as the reward margin; means over the batch."""
    block: int | None = None
    """The transformer layer that alone was updated, from 0 at the input; None where all trained ones were."""


@dataclass(frozen=True)
class ValidationPoint:
    """The validation loss after an optimizer step."""

    step: int
    loss: float


@dataclass
class History:
    """What a run has seen so far."""

    curve: list[CurvePoint] = field(default_factory=list[CurvePoint])
    validations: list[ValidationPoint] = field(default_factory=list[ValidationPoint])
    tokens: int = 0

    @property
    def best(self) -> ValidationPoint | None:
        """The earliest of the smallest validation losses; None before the first."""
        return min(self.validations, key=lambda point: point.loss, default=None)

    @property
    def validations_since_best(self) -> int:
        """How many validations have passed without improvement."""
        return len(self.validations) - 1 - self.validations.index(self.best) if self.best else 0


@dataclass
class TrainingState:
    """Everything that decides the rest of a run, next to its base model and configuration.

    There is no random state: data order and adapter dropout are functions of the seed and the step.
    """

    step: int
    """Optimizer steps taken."""
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    """`<parameter>//<slot>`."""
    best: Mapping[str, Tensor]
    """Weights at the best validation but one after the last step, which has `weights`; empty before the first."""
    reference: Tensor
    """(samples, continuations), rows by sample id; empty where the method needs none."""
    observed: Mapping[str, Tensor]
    """What the observer of the run has gathered; empty without one."""
    history: History


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one repair step in the store."""

    store: ArtifactStore
    context: StepContext
    base_digest: str
    config_digest: str
    ranks: Ranks = ALONE
    """Who continues from one; they take the same. Only the first saves."""

    def save(self, state: TrainingState) -> None:
        """Publishes a checkpoint and removes all but the newest `KEEP`."""
        folder = self.context.workdir / f"checkpoint-{state.step}"
        try:
            with full_disk_named(f"the checkpoint of optimizer step {state.step}"):
                self._write(state, folder)
            self.store.put_checkpoint(self.context.key, state.step, folder, keep=KEEP, given=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, state: TrainingState, folder: Path) -> None:
        folder.mkdir()
        tensors = {
            _OPTIMIZER: state.optimizer,
            _WEIGHTS: state.weights,
            _BEST: state.best,
            _REFERENCE: {"reference": state.reference},
            _OBSERVED: state.observed,
        }
        # The states of the optimizer are about as large as all others together.
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_save, tensors.values(), [folder / name for name in tensors]))
        about = {
            "step": state.step,
            "base_digest": self.base_digest,
            "config_digest": self.config_digest,
            "history": asdict(state.history),
        }
        (folder / _STATE).write_text(json.dumps(about, sort_keys=True), encoding="utf-8")

    def newest(self) -> TrainingState | None:
        """Returns the newest checkpoint that verifies and belongs to this run; None to start from the base.

        Whatever is chosen is noted, each refusal included: a run never starts over silently.
        """
        # Every rank lists them, which lets its store read them; the list that counts is the first one's.
        records = self.ranks.everyones(self.store.checkpoints(self.context.key))[0]
        for record in records:
            state, reason = self._verified(record)
            refusals = [other for other in self.ranks.everyones(reason) if other]
            if state is None or refusals:
                self.context.note("checkpoint refused", step=record.step, reason=refusals[0])
                continue
            self.context.note("resumed from checkpoint", step=state.step)
            return state
        if records:
            self.context.note("started over", refused=len(records))
        return None

    def _verified(self, record: CheckpointRecord) -> tuple[TrainingState | None, str]:
        """Returns a checkpoint, or why it cannot be used."""
        try:
            return self._load(self.store.materialize(record.digest)), ""
        except (ArtifactCorrupt, ArtifactNotFound, CheckpointIncomplete, CheckpointForeign) as error:
            return None, error.reason

    def _load(self, folder: Path) -> TrainingState:
        try:
            about = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            if (about["base_digest"], about["config_digest"]) != (self.base_digest, self.config_digest):
                raise CheckpointForeign()
            return TrainingState(
                step=about["step"],
                weights=load_file(folder / _WEIGHTS),
                optimizer=load_file(folder / _OPTIMIZER),
                best=load_file(folder / _BEST),
                reference=load_file(folder / _REFERENCE)["reference"],
                observed=load_file(folder / _OBSERVED),
                history=_history(about["history"]),
            )
        except RepairError:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CheckpointIncomplete() from error


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file(dict(tensors), path)


def _history(about: Mapping[str, list[dict[str, object]]]) -> History:
    return History(
        curve=[CurvePoint(**point) for point in about["curve"]],  # pyright: ignore[reportArgumentType]
        validations=[ValidationPoint(**point) for point in about["validations"]],  # pyright: ignore[reportArgumentType]
        tokens=int(about["tokens"]),  # pyright: ignore[reportArgumentType]
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state of an optimizer as whole tensors named `<parameter>//<slot>`, in main memory."""
    return {
        f"{name}//{slot}": whole(value.detach()).cpu().contiguous()
        for name, parameter in parameters.items()
        for slot, value in sorted(optimizer.state[parameter].items())
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_tensors` took."""
    for name, value in tensors.items():
        parameter, _, slot = name.rpartition("//")
        owner = parameters[parameter]
        # A count of steps has no parts.
        optimizer.state[owner][slot] = like(owner, value) if value.dim() else value.to(owner.device, copy=True)
