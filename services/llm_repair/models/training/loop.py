"""The one training loop: every repair method is an objective that it minimises.

On the CPU a run is a pure function of (base model, samples, method, seed, thread count), to the bit: dropout is
off, data order is a function of (seed, epoch, index), and algorithms are deterministic. A killed run that
continues from its checkpoint ends with the same bytes as one that was left alone. On a GPU the loss curves agree
within rounding.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from llm_repair.core.errors import LossNotFinite
from llm_repair.core.execution import StepContext
from llm_repair.core.repair import Optimizer, Precision, RepairMethod
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample, epoch_order
from llm_repair.models.training.checkpoints import (
    Checkpoints,
    CurvePoint,
    History,
    TrainingState,
    ValidationPoint,
    optimizer_tensors,
    restore_optimizer,
)
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.objectives import Objective
from llm_repair.models.training.schedule import Schedule, plan

# pyright: reportUnknownMemberType=false
# torch annotates some of its functions in part only.


@dataclass(frozen=True)
class TrainingResult:
    """What a run did; the model holds its best weights afterwards."""

    history: History
    kept_step: int
    """Step whose weights were kept: the best validation, or the last step without one."""
    planned_steps: int
    seconds: Mapping[str, float]
    """Wall time of this attempt by part: reference, training, validation, observation, checkpoints."""


class EpochObserver(Protocol):
    """Looks at the model at the end of every epoch; what it gathers travels with the checkpoints of the run."""

    def after_epoch(self, step: int) -> None:
        """Looks at the model, which is in evaluation mode and asked for no gradient; `step` ended the epoch."""
        ...

    @property
    def gathered(self) -> Mapping[str, Tensor]:
        """Everything gathered since the first epoch."""
        ...

    def restore(self, gathered: Mapping[str, Tensor]) -> None:
        """Goes on from what an earlier attempt had gathered."""
        ...


@dataclass
class _Pass:
    """Sums over the micro-batches of one pass through some samples."""

    loss: float = 0.0
    tokens: int = 0
    measures: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


class TrainingRun:
    """One repair in progress; holds the state between optimizer steps."""

    def __init__(
        self,
        target: TrainableModel,
        samples: Sequence[TokenisedSample],
        held_out: Sequence[TokenisedSample],
        *,
        objective: Objective,
        method: RepairMethod,
        seed: int,
        context: StepContext,
        checkpoints: Checkpoints,
        observer: EpochObserver | None = None,
    ) -> None:
        """Prepares a run; samples of any order, held_out for the validation loss, may be empty."""
        self._target = target
        self._samples = sorted(samples, key=lambda sample: sample.id)
        self._held_out = sorted(held_out, key=lambda sample: sample.id)
        self._objective = objective
        self._method = method
        self._seed = seed
        self._context = context
        self._checkpoints = checkpoints
        self._observer = observer
        self._schedule: Schedule = plan(method, len(self._samples))
        # The latest is kept: to hash every id at every step would outgrow the training itself on a large pool.
        self._order = lru_cache(maxsize=1)(partial(epoch_order, [sample.id for sample in self._samples], seed=seed))
        self._parameters = target.parameters
        self._optimizer = _optimizer(method, list(self._parameters.values()))
        self._log_probs = LogProbs(
            target.model,
            [*self._samples, *self._held_out],
            prompt_in_loss=method.prompt_in_loss and objective.continuations == 1,
            half=method.precision is Precision.BFLOAT16,
        )
        self._reference: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}
        self._history = History()
        self._step = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def steps_taken(self) -> int:
        """Optimizer steps taken so far, those before a resume included."""
        return self._step

    def run(self) -> TrainingResult:
        """Trains to the end, from the newest checkpoint if there is one, and loads the best weights.

        Raises:
          LossNotFinite: a loss or gradient became NaN or infinite; carries the step.
          StepCancelled: the context says so; `keep_best` can still be called.
        """
        with _deterministic():
            self._start()
            while self._step < self._schedule.steps and not self._out_of_patience():
                self._take_step(self._step + 1)
        return self.keep_best()

    def keep_best(self) -> TrainingResult:
        """Loads the weights of the best validation so far; the last ones if there was none."""
        best = self._history.best
        if best and best.step != self._step:
            self._target.load(self._best)
        return TrainingResult(
            history=self._history,
            kept_step=best.step if best else self._step,
            planned_steps=self._schedule.steps,
            seconds=dict(self._seconds),
        )

    def _start(self) -> None:
        state = self._checkpoints.newest()
        everyone = [*self._samples, *self._held_out]
        if state is None:
            with self._timed("reference"):
                rows = self._reference_pass(everyone)
        else:
            rows = state.reference
            self._target.load(state.weights)
            restore_optimizer(self._optimizer, self._parameters, state.optimizer)
            self._best = {name: value.clone() for name, value in state.best.items()}
            self._history = state.history
            self._step = state.step
            if self._observer:
                self._observer.restore(state.observed)
        self._reference = {sample.id: row for sample, row in zip(everyone, rows, strict=True)}
        self._report()

    def _reference_pass(self, samples: Sequence[TokenisedSample]) -> Tensor:
        """Returns the log-probabilities before training, (samples, continuations), zeros if not needed."""
        rows = torch.zeros(len(samples), self._objective.continuations)
        if not self._objective.needs_reference:
            return rows
        done = 0
        with torch.no_grad():
            for part in self._log_probs.parts(samples):
                self._context.raise_if_cancelled()
                log_probs, tokens = self._log_probs.of(part)
                rows[done : done + len(part)] = log_probs.cpu()
                done += len(part)
                self._context.count(tokens=tokens)
                self._context.progress(done, len(samples), "samples", stage="reference")
        return rows

    def _take_step(self, step: int) -> None:
        with self._timed("training"):
            started = time.perf_counter()
            batch = self._batch(step)
            rate = self._schedule.rate(step)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.zero_grad(set_to_none=True)
            sums = self._pass_over(batch, step, learn=True)
            norm = float(nn.utils.clip_grad_norm_(self._parameters.values(), self._method.clip_norm))
            _require_finite(norm, step, "gradient")
            self._optimizer.step()
            self._step = step
            self._history.tokens += sums.tokens
            pace = sums.tokens / (time.perf_counter() - started)
            measures = {name: value / len(batch) for name, value in sorted(sums.measures.items())}
            self._history.curve.append(CurvePoint(step, sums.loss, rate, norm, sums.tokens, pace, measures))
        if self._held_out and self._schedule.validates_after(step):
            self._validate(step)
        if self._observer and self._schedule.ends_epoch(step):
            with self._timed("observation"), torch.no_grad():
                self._observer.after_epoch(step)
        if self._schedule.checkpoints_after(step):
            self._checkpoint()
        self._report()

    def _batch(self, step: int) -> list[TokenisedSample]:
        epoch, number = self._schedule.place(step)
        order, size = self._order(epoch=epoch), self._method.batch_samples
        return [self._samples[index] for index in order[number * size : (number + 1) * size]]

    def _pass_over(self, samples: Sequence[TokenisedSample], step: int, *, learn: bool) -> _Pass:
        """Sums the loss over micro-batches that fit in memory; `learn` also accumulates the gradient."""
        sums = _Pass()
        weight = self._weight(samples)
        for number, part in enumerate(self._log_probs.parts(samples)):
            self._context.raise_if_cancelled()
            with self._dropout(step, number, learn):
                log_probs, tokens = self._log_probs.of(part)
            reference = torch.stack([self._reference[sample.id] for sample in part]).to(log_probs.device)
            terms = self._objective.terms(log_probs, reference)
            loss = terms.losses.sum() / weight
            _require_finite(loss.item(), step, "loss")
            if learn:
                loss.backward()
            sums.loss += loss.item()
            sums.tokens += tokens
            for name, value in terms.measures.items():
                sums.measures[name] += float(value.sum())
            self._context.count(tokens=tokens)
        return sums

    def _weight(self, samples: Sequence[TokenisedSample]) -> int:
        if not self._objective.averages_over_tokens:
            return len(samples)
        return sum(self._log_probs.learnt_tokens(sample) for sample in samples)

    @contextmanager
    def _dropout(self, step: int, part: int, learn: bool) -> Generator[None]:
        """Switches the adapters' own dropout on, its noise a function of (seed, step, part); off everywhere else."""
        dropouts = self._target.adapter_dropouts if learn else []
        if not dropouts:
            yield
            return
        with torch.random.fork_rng():
            torch.manual_seed(_noise_seed(self._seed, step, part))
            for module in dropouts:
                module.train()
            yield
            for module in dropouts:
                module.eval()

    def _validate(self, step: int) -> None:
        with self._timed("validation"), torch.no_grad():
            loss = self._pass_over(self._held_out, step, learn=False).loss
        self._history.validations.append(ValidationPoint(step, loss))
        best = self._history.best
        if best and best.step == step:
            self._best = _snapshot(self._parameters)

    def _out_of_patience(self) -> bool:
        return 0 < self._method.patience <= self._history.validations_since_best

    def _checkpoint(self) -> None:
        with self._timed("checkpoints"):
            everyone = [*self._samples, *self._held_out]
            state = TrainingState(
                step=self._step,
                weights=_snapshot(self._parameters),
                optimizer=optimizer_tensors(self._optimizer, self._parameters),
                best=self._best,
                reference=torch.stack([self._reference[sample.id] for sample in everyone]),
                observed=self._observer.gathered if self._observer else {},
                history=self._history,
            )
            self._checkpoints.save(state)

    def _report(self) -> None:
        self._context.progress(self._step, self._schedule.steps, "optimizer steps")

    @contextmanager
    def _timed(self, part: str) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self._seconds[part] += seconds
            if self._target.model.device.type != "cpu":
                self._context.count(accelerator_s=seconds)


def _optimizer(method: RepairMethod, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the optimizer; AdamW in its fused form, which reads and writes each weight once."""
    match method.optimizer:
        case Optimizer.ADAMW:
            return torch.optim.AdamW(parameters, lr=method.peak_rate, weight_decay=method.weight_decay, fused=True)
        case Optimizer.RMSPROP:
            return torch.optim.RMSprop(parameters, lr=method.peak_rate, weight_decay=method.weight_decay)


def _noise_seed(seed: int, step: int, part: int) -> int:
    """Returns 63 bits that depend on all three and on nothing else."""
    return int.from_bytes(hashlib.sha256(f"dropout\n{seed}\n{step}\n{part}".encode()).digest()[:8], "big") >> 1


def _snapshot(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in parameters.items()}


def _require_finite(value: float, step: int, what: str) -> None:
    if not math.isfinite(value):
        raise LossNotFinite(f"the {what} is not finite at optimizer step {step}; nothing was published", step=step)


@contextmanager
def _deterministic() -> Generator[None]:
    """Asks torch for deterministic algorithms, and puts back what was set before.

    On a GPU some kernels have none; they warn, and the run is reproducible within rounding only.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_before)
