"""The shape of a training run, known before it starts: steps, learning rates, points of validation.

Everything is a function of the step, so that a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llm_repair.core.repair import RepairMethod


@dataclass(frozen=True)
class Schedule:
    """How many optimizer steps there are, and what happens at each; steps count from 1."""

    samples: int
    """Of an epoch."""
    batch_samples: int
    epochs: int
    warmup_steps: int
    """May be more than there are steps: then the peak rate is never reached."""
    peak_rate: float
    final_rate_share: float
    validations: int
    validate_every_samples: int | None
    """Replaces `validations` if given."""
    checkpoint_every: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the last batch may be smaller."""
        return math.ceil(self.samples / self.batch_samples)

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.steps_per_epoch * self.epochs

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step.

        It rises linearly to the peak at the last warm-up step and falls linearly to `final_rate_share` of the
        peak at the last step. Warm-up is a share of the steps unless a number was asked for, so that a small budget
        leaves it too (paper.md §8.16).
        """
        if step <= self.warmup_steps:
            return self.peak_rate * step / self.warmup_steps
        fall = (step - max(self.warmup_steps, 1)) / max(1, self.steps - max(self.warmup_steps, 1))
        return self.peak_rate * (1 - (1 - self.final_rate_share) * fall)

    def validates_after(self, step: int) -> bool:
        """Says whether the validation loss is measured after a step.

        After every so many training samples, or so many times evenly spread; and always at the end, so that no last
        interval goes unseen (paper.md §8.17).
        """
        if every := self.validate_every_samples:
            return step == self.steps or self._seen(step) // every > self._seen(step - 1) // every
        return step * self.validations // self.steps > (step - 1) * self.validations // self.steps

    def _seen(self, step: int) -> int:
        """Returns how many training samples the steps up to this one have taken, repeats counted."""
        epoch, number = divmod(step, self.steps_per_epoch)
        return epoch * self.samples + min(number * self.batch_samples, self.samples)

    def checkpoints_after(self, step: int) -> bool:
        """Says whether a checkpoint follows a step; none at the end, where the result itself follows."""
        return step % self.checkpoint_every == 0 and step < self.steps

    def ends_epoch(self, step: int) -> bool:
        """Says whether a step takes the last batch of an epoch."""
        return step % self.steps_per_epoch == 0

    def place(self, step: int) -> tuple[int, int]:
        """Returns (epoch, number of the batch in it) of a step, both from 0."""
        return divmod(step - 1, self.steps_per_epoch)


def plan(method: RepairMethod, samples: int) -> Schedule:
    """Lays out a run over so many training samples, at least 1; the last batch of an epoch may be smaller."""
    steps = math.ceil(samples / method.batch_samples) * method.epochs
    return Schedule(
        samples=samples,
        batch_samples=method.batch_samples,
        epochs=method.epochs,
        warmup_steps=math.ceil(method.warmup_share * steps) if method.warmup_steps is None else method.warmup_steps,
        peak_rate=method.peak_rate,
        final_rate_share=method.final_rate_share,
        validations=method.validations,
        validate_every_samples=method.validate_every_samples,
        checkpoint_every=method.checkpoint_every_steps,
    )
