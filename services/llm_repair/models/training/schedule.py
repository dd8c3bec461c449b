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

    steps_per_epoch: int
    steps: int
    warmup_steps: int
    peak_rate: float
    final_rate_share: float
    validations: int
    checkpoint_every: int

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step.

        It rises linearly to the peak at the last warm-up step and falls linearly to `final_rate_share` of the
        peak at the last step. A share of the steps and not a number, so that a small budget leaves warm-up too
        (paper.md §8.16).
        """
        if step <= self.warmup_steps:
            return self.peak_rate * step / self.warmup_steps
        fall = (step - max(self.warmup_steps, 1)) / max(1, self.steps - max(self.warmup_steps, 1))
        return self.peak_rate * (1 - (1 - self.final_rate_share) * fall)

    def validates_after(self, step: int) -> bool:
        """Says whether the validation loss is measured after a step: evenly spread, the end included."""
        return step in {math.ceil(self.steps * k / self.validations) for k in range(1, self.validations + 1)}

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
    """Lays out a run over so many training samples; the last batch of an epoch may be smaller."""
    steps_per_epoch = math.ceil(samples / method.batch_samples)
    steps = steps_per_epoch * method.epochs
    return Schedule(
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup_steps=math.ceil(method.warmup_share * steps),
        peak_rate=method.peak_rate,
        final_rate_share=method.final_rate_share,
        validations=method.validations,
        checkpoint_every=method.checkpoint_every_steps,
    )
