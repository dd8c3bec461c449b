"""The one training loop: every repair method is an objective that it minimises.

On the CPU a run is a pure function of (base model, samples, method, seed, thread count), to the bit: dropout is
off, data order is a function of (seed, epoch, index), and algorithms are deterministic. A killed run that
continues from its checkpoint ends with the same bytes as one that was left alone. The number of ranks counts as one
of these: with another the results agree within rounding, as they do on a GPU.

All ranks run this loop. They hold the same history, since losses and norms are added up over them, and so they come to
the same decisions; the first one keeps what outlives the run.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from llm_repair.core.errors import StepCancelled, StorageFull, StorageUnavailable
from llm_repair.core.execution import StepContext
from llm_repair.core.repair import Optimizer, RepairMethod
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
from llm_repair.models.training.faults import out_of_memory_named, require_finite, require_no_explosion
from llm_repair.models.training.learner import BatchLoss, Learner
from llm_repair.models.training.objectives import Objective
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.models.training.schedule import Schedule, plan
from llm_repair.models.training.sharding import whole
from llm_repair.models.training.utility import UtilityTexts

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
    weights: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The best weights, whole, at the first of several ranks that shard them: there no model holds them."""


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
        utility: Sequence[TokenisedSample] = (),
        ranks: Ranks = ALONE,
        halved: bool = False,
    ) -> None:
        """Prepares a run; samples of any order, held_out for the validation loss, may be empty.

        utility: texts, for objectives with a KL term only. observer: of a run with one rank only. halved: begins with
        micro-batches of half the size.

        Raises:
          PoolTooSmall: too few utility texts for an objective with a KL term.
          DatasetInvalid: a sample has no token to learn.
          ModelInvalid: the architecture cannot be trained as the method asks.
        """
        assert observer is None or ranks.count == 1
        self._target = target
        self._ranks = ranks
        self._samples = sorted(samples, key=lambda sample: sample.id)
        self._held_out = sorted(held_out, key=lambda sample: sample.id)
        self._method = method
        self._context = context
        self._checkpoints = checkpoints
        self._observer = observer
        self._schedule: Schedule = plan(method, len(self._samples))
        # The latest is kept: to hash every id at every step would outgrow the training itself on a large pool.
        self._order = lru_cache(maxsize=1)(partial(epoch_order, [sample.id for sample in self._samples], seed=seed))
        self._learner = Learner(
            target,
            [*self._samples, *self._held_out],
            objective=objective,
            method=method,
            seed=seed,
            context=context,
            utility=_utility(utility, objective, method, seed),
            ranks=ranks,
            halved=halved,
        )
        self._parameters = target.parameters
        self._optimizer = _optimizer(method, list(self._parameters.values()))
        self._best: Mapping[str, Tensor] = {}
        self._history = History()
        self._step = self._saved_step = self._observed_step = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def steps_taken(self) -> int:
        """Optimizer steps taken so far, those before a resume included."""
        return self._step

    def run(self) -> TrainingResult:
        """Trains to the end, from the newest checkpoint if there is one, and loads the best weights.

        Raises:
          LossNotFinite: a loss or gradient became NaN or infinite; carries the step.
          GradientExploded: gradients were too large for too many steps in a row; carries the step.
          OutOfMemory: memory ran out, on halved micro-batches too; carries the step.
          StepCancelled: the context says so; a checkpoint is left, and `keep_best` can still be called.
        """
        with _deterministic():
            with out_of_memory_named(0):
                self._start()
            try:
                while self._step < self._schedule.steps and not self._out_of_patience():
                    with out_of_memory_named(self._step + 1):
                        self._take_step(self._step + 1)
            except StepCancelled:
                self._leave_checkpoint()
                raise
        return self.keep_best()

    def keep_best(self) -> TrainingResult:
        """Loads the weights of the best validation so far; the last ones if there was none."""
        best = self._history.best
        is_last = best is None or best.step == self._step
        weights: Mapping[str, Tensor] = {}
        if self._ranks.shards:
            weights = self._snapshot() if is_last else self._best
        elif not is_last:
            self._target.load(self._best)
        return TrainingResult(
            history=self._history,
            kept_step=best.step if best else self._step,
            planned_steps=self._schedule.steps,
            seconds=dict(self._seconds),
            weights=weights,
        )

    def _start(self) -> None:
        state = self._checkpoints.newest()
        everyone = [*self._samples, *self._held_out]
        if state is None:
            with self._timed("reference"):
                of_samples = self._learner.measure_reference(self._samples)
                rows = torch.cat([of_samples, self._learner.measure_reference(self._held_out, held_out=True)])
        else:
            rows = state.reference
            self._target.load(state.weights)
            restore_optimizer(self._optimizer, self._parameters, state.optimizer)
            self._best = state.best
            self._history = state.history
            self._step = self._saved_step = self._observed_step = state.step
            if self._observer:
                self._observer.restore(state.observed)
        self._learner.remember(everyone, rows)
        self._report()
        if self._step:
            self._validate_when_due()

    def _take_step(self, step: int) -> None:
        with self._timed("training"):
            started = time.perf_counter()
            found = self._learner.learn(self._batch(step), step)
            norm = self._update(step)
            pace = found.tokens / (time.perf_counter() - started)
            self._record(step, found, norm, pace)
        self._validate_when_due()
        if self._observer and self._schedule.ends_epoch(step):
            with self._timed("observation"), torch.no_grad():
                self._observer.after_epoch(step)
        self._observed_step = step
        if self._schedule.checkpoints_after(step):
            self._checkpoint()
        self._report()

    def _batch(self, step: int) -> list[TokenisedSample]:
        epoch, number = self._schedule.place(step)
        order, size = self._order(epoch=epoch), self._method.batch_samples
        return [self._samples[index] for index in order[number * size : (number + 1) * size]]

    def _update(self, step: int) -> float:
        """Takes the optimizer step along the gradient there is; returns its norm before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(step)
        norm = self._clip()
        require_finite(norm, step, "gradient")
        before = [point.gradient_norm for point in self._history.curve[-self._method.explosion_steps :]]
        require_no_explosion([*before, norm], self._method, step)
        self._optimizer.step()
        self._step = step
        return norm

    def _clip(self) -> float:
        """Scales the whole gradient down to the clipping norm if it is longer; returns its norm before."""
        parameters = list(self._parameters.values())
        norm = whole(nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None]))
        nn.utils.clip_grads_with_norm_(parameters, self._method.clip_norm, norm)
        return float(norm)

    def _record(self, step: int, found: BatchLoss, norm: float, pace: float) -> None:
        self._history.tokens += found.tokens
        self._history.curve.append(
            CurvePoint(
                step=step,
                loss=found.loss,
                learning_rate=self._schedule.rate(step),
                gradient_norm=norm,
                tokens=found.tokens,
                tokens_per_s=pace,
                measures=dict(sorted(found.measures.items())),
                block=found.block,
            )
        )

    def _validate_when_due(self) -> None:
        """Measures the validation loss after the present step, unless an attempt that was resumed from here had."""
        step, done = self._step, self._history.validations
        if not self._held_out or not self._schedule.validates_after(step) or (done and done[-1].step == step):
            return
        with self._timed("validation"):
            loss = self._learner.validate(self._held_out, step)
            self._history.validations.append(ValidationPoint(step, loss))
            best = self._history.best
            # After the last step the model itself has them.
            if best and best.step == step < self._schedule.steps:
                self._best = self._snapshot()

    def _out_of_patience(self) -> bool:
        return 0 < self._method.patience <= self._history.validations_since_best

    def _checkpoint(self) -> None:
        with self._timed("checkpoints"):
            everyone = [*self._samples, *self._held_out]
            state = TrainingState(
                step=self._step,
                weights=self._snapshot(),
                optimizer=optimizer_tensors(self._optimizer, self._parameters),
                best=self._best,
                reference=torch.stack([self._learner.reference[sample.id] for sample in everyone]),
                observed=self._observer.gathered if self._observer else {},
                history=self._history,
            )
            if self._ranks.is_first:
                self._checkpoints.save(state)
        self._saved_step = self._step

    def _snapshot(self) -> Mapping[str, Tensor]:
        """Returns a copy of the present weights, whole, in main memory; of several ranks only the first has it."""
        kept: dict[str, Tensor] = {}
        for name, value in self._parameters.items():
            put_together = whole(value.detach())
            if self._ranks.is_first:
                kept[name] = put_together.to("cpu", copy=True).contiguous()
        return kept

    def _leave_checkpoint(self) -> None:
        """Saves where a cancelled run stands, so that it can go on from there.

        Not amid an observation, which may have gathered half of what it gathers: then an older checkpoint must do.
        """
        observed = self._observer is None or self._observed_step == self._step
        if self._step == self._saved_step or not observed:
            return
        try:
            self._checkpoint()
        except (StorageFull, StorageUnavailable) as error:
            self._context.note("left no checkpoint", step=self._step, reason=error.reason)

    def _report(self) -> None:
        measures = _latest(self._history)
        self._context.progress(self._step, self._schedule.steps, "optimizer steps", measures=measures)

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


def _latest(history: History) -> dict[str, float]:
    """Returns what a run shows of itself: the `TRAINING_MEASURES`, and those of the method."""
    latest: dict[str, float] = {}
    if history.curve:
        point = history.curve[-1]
        of_step = ("loss", "learning_rate", "gradient_norm", "tokens_per_s")
        latest = {**point.measures, **{name: getattr(point, name) for name in of_step}}
    if history.validations:
        latest["validation_loss"] = history.validations[-1].loss
    return latest


def _utility(
    texts: Sequence[TokenisedSample], objective: Objective, method: RepairMethod, seed: int
) -> UtilityTexts | None:
    if objective.needs.kl_weight == 0:
        return None
    return UtilityTexts(texts, held_out_share=method.validation_share, batch=method.batch_samples, seed=seed)


def _optimizer(method: RepairMethod, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the optimizer; AdamW in its fused form, which reads and writes each weight once."""
    match method.optimizer:
        case Optimizer.ADAMW:
            return torch.optim.AdamW(parameters, lr=method.peak_rate, weight_decay=method.weight_decay, fused=True)
        case Optimizer.RMSPROP:
            return torch.optim.RMSprop(parameters, lr=method.peak_rate, weight_decay=method.weight_decay)


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
