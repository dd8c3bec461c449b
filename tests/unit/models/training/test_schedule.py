"""Steps, rates and points of validation, worked by hand."""

from __future__ import annotations

import pytest

from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.models.training.schedule import plan


def test_smaller_last_batch_is_a_step_of_its_own() -> None:
    """122 samples in batches of 8 are 15 full ones and one of 2: 16 steps an epoch, 32 in two."""
    schedule = plan(RepairMethod(DpoMethod(), epochs=2, batch_samples=8), 122)

    assert (schedule.steps_per_epoch, schedule.steps) == (16, 32)
    assert [schedule.place(step) for step in (1, 16, 17, 32)] == [(0, 0), (0, 15), (1, 0), (1, 15)]


def test_rate_rises_to_its_peak_and_falls_linearly_to_its_last_share() -> None:
    """10 steps, 20 % warm-up: rises over 2 steps, then falls by (1 - 0.2) / 8 = 0.1 of the peak a step."""
    method = RepairMethod(
        DpoMethod(), epochs=1, batch_samples=1, learning_rate=1.0, warmup_share=0.2, final_rate_share=0.2
    )
    schedule = plan(method, 10)

    rates = [schedule.rate(step) for step in range(1, 11)]

    assert rates == pytest.approx([0.5, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    method = RepairMethod(
        DpoMethod(), epochs=1, batch_samples=1, learning_rate=1.0, warmup_share=0.0, final_rate_share=0.0
    )
    schedule = plan(method, 3)

    assert [schedule.rate(step) for step in (1, 2, 3)] == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("samples", "validations", "points"),
    [(10, 4, [3, 5, 8, 10]), (10, 1, [10]), (2, 4, [1, 2]), (1, 4, [1])],
)
def test_validations_are_evenly_spread_and_include_the_end(samples: int, validations: int, points: list[int]) -> None:
    """Of 10 steps, quarters end at 2.5, 5, 7.5 and 10, rounded up."""
    schedule = plan(RepairMethod(DpoMethod(), epochs=1, batch_samples=1, validations=validations), samples)

    assert [step for step in range(1, schedule.steps + 1) if schedule.validates_after(step)] == points


def test_checkpoints_come_at_their_interval_but_not_at_the_end() -> None:
    schedule = plan(RepairMethod(DpoMethod(), epochs=1, batch_samples=1, checkpoint_every_steps=5), 15)

    assert [step for step in range(1, 16) if schedule.checkpoints_after(step)] == [5, 10]


def test_epochs_end_with_their_smaller_last_batch() -> None:
    """7 samples in batches of 3 are 3 steps an epoch."""
    schedule = plan(RepairMethod(DpoMethod(), epochs=2, batch_samples=3), 7)

    assert [step for step in range(1, 7) if schedule.ends_epoch(step)] == [3, 6]
