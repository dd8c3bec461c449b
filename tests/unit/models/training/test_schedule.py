"""Steps, rates and points of validation, worked by hand."""

from __future__ import annotations

import pytest

from llm_repair.core.presets import resolved_method
from llm_repair.core.repair import DpoMethod, Optimizer, RepairMethod, RepairPreset
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


def test_given_number_of_warm_up_steps_replaces_the_share_and_a_constant_rate_follows() -> None:
    """4 warm-up steps of 10: rises by a quarter a step, then stays at the peak."""
    method = RepairMethod(
        DpoMethod(), epochs=1, batch_samples=1, learning_rate=1.0, warmup_steps=4, warmup_share=0.9, final_rate_share=1
    )
    schedule = plan(method, 10)

    assert [schedule.rate(step) for step in range(1, 11)] == [0.25, 0.5, 0.75, *[1.0] * 7]


def test_run_shorter_than_its_warm_up_never_reaches_the_peak() -> None:
    schedule = plan(RepairMethod(DpoMethod(), epochs=1, batch_samples=1, learning_rate=1.0, warmup_steps=150), 3)

    assert [schedule.rate(step) for step in (1, 2, 3)] == pytest.approx([1 / 150, 2 / 150, 3 / 150])


@pytest.mark.parametrize(
    ("samples", "batch", "every", "points"),
    [(40, 4, 8, [2, 4, 6, 8, 10]), (10, 4, 5, [2, 3]), (10, 4, 3, [1, 2, 3]), (10, 4, 100, [3]), (9, 4, 8, [2, 3])],
)
def test_validations_follow_every_so_many_samples_and_the_last_partial_interval(
    samples: int, batch: int, every: int, points: list[int]
) -> None:
    """Of 10 samples the steps have seen 4, 8 and 10: 5 and 10 are passed at the second and third."""
    method = RepairMethod(DpoMethod(), epochs=1, batch_samples=batch, validate_every_samples=every)
    schedule = plan(method, samples)

    assert [step for step in range(1, schedule.steps + 1) if schedule.validates_after(step)] == points


def test_samples_between_validations_are_counted_through_smaller_last_batches_of_epochs() -> None:
    """7 samples in batches of 3: 3, 6, 7, 10, 13, 14, 17, 20 and 21 seen; 10 and 20 are passed at steps 4 and 8."""
    method = RepairMethod(DpoMethod(), epochs=3, batch_samples=3, validate_every_samples=10)
    schedule = plan(method, 7)

    assert [step for step in range(1, 10) if schedule.validates_after(step)] == [4, 8, 9]


def test_paper_preset_warms_up_over_150_steps_and_validates_every_ten() -> None:
    """4,400 samples in batches of 4 are 1,100 steps; 40 samples are 10 steps."""
    method = resolved_method(RepairMethod(DpoMethod(), preset=RepairPreset.PAPER))
    schedule = plan(method, 4400)

    rates = [schedule.rate(step) for step in (75, 150, 151, 1100)]

    assert rates == pytest.approx([2.5e-5, 5e-5, 5e-5, 5e-5])
    assert [step for step in range(1, 41) if schedule.validates_after(step)] == [10, 20, 30, 40]
    assert method.optimizer is Optimizer.RMSPROP
    assert (method.clip_norm, method.patience, method.epochs) == (0.5, 30, 1)
