"""The test that may stop early: when it looks, what it answers, and that it has no memory of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.errors import InvalidFields
from llm_repair.core.metrics import Direction, Estimate, Missing
from llm_repair.core.statistics import Answer, LookPlan, SequentialTest, confidence_sequence

LOWER, HIGHER = Direction.LOWER_IS_BETTER, Direction.HIGHER_IS_BETTER
CHANGES = (-1.0, 1.0)


def falling(bound: float = 0.0, **how: object) -> SequentialTest:
    """Mean change below the bound, as the default gate asks of toxicity."""
    settled = {"direction": LOWER, "bound_is_good": False, "support": CHANGES} | how
    return SequentialTest(bound, **settled)  # pyright: ignore[reportArgumentType]


def changes(mean: float, n: int = 1200, seed: int = 0) -> np.ndarray:
    """Most prompts hardly change, a quarter does by up to half of the scale; sd about 0.16."""
    rng = np.random.default_rng(seed)
    moved = np.where(rng.random(n) < 0.25, rng.uniform(-0.5, 0.5, n), rng.normal(scale=0.02, size=n))
    return np.clip(moved + mean, -1, 1)


def test_the_first_look_is_at_100_units_then_every_50_up_to_the_cap() -> None:
    plan = LookPlan()

    assert plan.looks(99) == ()
    assert plan.looks(100) == plan.looks(149) == (100,)
    assert plan.looks(260) == (100, 150, 200, 250)
    assert len(plan.looks(1200)) == 23
    assert plan.looks(5000)[-2:] == (1150, 1200)


def test_the_cap_is_a_look_even_off_the_grid() -> None:
    plan = LookPlan(100, 50, 1199)

    assert plan.looks(1198)[-1] == 1150
    assert plan.looks(1199)[-2:] == (1150, 1199)
    assert plan.after(1150) == 1199
    assert plan.after(1199) is None


def test_with_fewer_units_than_the_plan_the_last_look_is_at_the_last_unit() -> None:
    assert LookPlan().limited(191).looks(191) == (100, 150, 191)
    assert LookPlan().limited(40).looks(40) == (40,)
    assert LookPlan().limited(9000) == LookPlan()


@pytest.mark.parametrize("plan", [(0, 50, 1200), (100, 0, 1200), (100, 50, 99)])
def test_plans_that_make_no_sense_are_refused(plan: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidFields):
        LookPlan(*plan)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 900), st.integers(0, 1300))
def test_the_next_look_is_the_first_that_more_units_add(first: int, every: int, beyond: int, n: int) -> None:
    plan = LookPlan(first, every, first + beyond)

    following = plan.after(n)

    if following is None:
        assert plan.looks(n) == plan.looks(10_000)
    else:
        assert plan.looks(following) == (*plan.looks(n), following)


def test_before_the_first_look_nothing_is_said() -> None:
    for n in (0, 99):
        state = falling().state(changes(-0.3, n))

        assert (state.answer, state.interval, state.next_look) == (Answer.OPEN, Missing("TOO_FEW_UNITS"), 100)


def test_a_clear_fall_is_good_at_the_first_look_and_a_clear_rise_bad() -> None:
    good, bad = falling().state(changes(-0.2, 100)), falling().state(changes(0.2, 100))

    assert (good.answer, good.next_look) == (Answer.GOOD, None)
    assert (bad.answer, bad.next_look) == (Answer.BAD, None)
    assert isinstance(good.interval, Estimate)
    assert good.interval.high < 0


def test_the_interval_quoted_is_that_of_the_sequence_at_the_deciding_look() -> None:
    units = changes(-0.04)

    state = falling().state(units)

    assert state.answer is Answer.GOOD
    assert isinstance(state.interval, Estimate)
    look = state.interval.n
    assert 100 < look < 1200
    sequence = confidence_sequence(units, LookPlan().looks(look), support=CHANGES)
    assert state.interval == sequence[-1]
    assert all(isinstance(each, Estimate) and each.low <= 0 <= each.high for each in sequence[:-1])


def test_no_answer_up_to_the_cap_ends_open_with_the_last_interval() -> None:
    state = falling().state(changes(0.0))

    assert (state.answer, state.next_look) == (Answer.OPEN, None)
    assert isinstance(state.interval, Estimate)
    assert state.interval.n == 1200


def test_an_open_test_asks_for_the_next_look() -> None:
    state = falling().state(changes(0.0, 170))

    assert (state.answer, state.next_look) == (Answer.OPEN, 200)
    assert isinstance(state.interval, Estimate)
    assert state.interval.n == 150


@pytest.mark.parametrize("mean", [-0.03, 0.0, 0.05])
def test_who_asks_at_every_unit_hears_what_who_asks_once_does(mean: float) -> None:
    """Driven look by look, resumed anywhere, and with units beyond the answer: one story."""
    units = changes(mean, 400, seed=3)
    test = falling(plan=LookPlan(50, 25, 400))

    at, state = 0, test.state(units[:0])
    while state.next_look is not None:
        at = state.next_look
        state = test.state(units[:at])

    assert test.state(units) == state
    assert all(test.state(units[:n]) == state for n in range(at, 400, 37))


def test_higher_is_better_mirrors_lower_is_better() -> None:
    for mean in (-0.05, 0.05):
        units = changes(mean)
        down = falling(0.01).state(units)
        up = falling(-0.01, direction=HIGHER).state(-units)

        assert down.answer is up.answer is not Answer.OPEN


def test_an_end_on_the_bound_is_good_only_where_the_bound_is() -> None:
    """All ones: the upper end is the end of the support, 1, exactly."""
    ones = np.ones(100)
    at_most = falling(1.0, bound_is_good=True, support=(0.0, 1.0)).state(ones)
    below = falling(1.0, bound_is_good=False, support=(0.0, 1.0)).state(ones)

    assert (at_most.answer, below.answer) == (Answer.GOOD, Answer.OPEN)


def test_missing_scores_are_neither_clean_nor_toxic() -> None:
    """Five of 100 prompts lack a score after the repair: the interval holds what any of their scores would give."""
    base, repaired = np.full(100, 0.3), np.full(100, 0.1)
    lowest, highest = repaired.copy(), repaired.copy()
    lowest[:5], highest[:5] = 0.0, 1.0
    test = falling(plan=LookPlan(100, 50, 100))

    state = test.state(repaired - base, (lowest - base, highest - base))

    assert isinstance(state.interval, Estimate)
    for filled in (lowest, repaired, highest):
        alone = test.state(filled - base).interval
        assert isinstance(alone, Estimate)
        assert state.interval.low <= alone.low
        assert alone.high <= state.interval.high
    assert state.interval.value == pytest.approx(-0.2)


def test_a_unit_that_is_no_number_ends_the_test_open() -> None:
    units = changes(-0.001, 200)
    units[120] = math.nan

    state = falling().state(units)

    assert (state.answer, state.interval, state.next_look) == (Answer.OPEN, Missing("NOT_FINITE"), None)


def test_a_test_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidFields, match="support"):
        falling(support=(1.0, 1.0))
    with pytest.raises(InvalidFields, match="bound"):
        falling(math.nan)
    with pytest.raises(InvalidFields, match="confidence"):
        falling(confidence=0.4)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-1, 1, width=32), min_size=20, max_size=60), st.floats(-1, 1))
def test_the_answer_is_where_the_quoted_interval_lies(values: list[float], bound: float) -> None:
    state = falling(bound, plan=LookPlan(10, 10, 60)).state(np.array(values, dtype=np.float64))

    if isinstance(state.interval, Estimate):
        assert (state.answer is Answer.GOOD) == (state.interval.high < bound)
        assert (state.answer is Answer.BAD) == (state.interval.low >= bound)


def test_an_effect_of_a_fifth_of_its_deviation_is_found_with_a_quarter_of_the_prompts() -> None:
    """40 runs: all stop with the right answer, on average before 330 of 1,200 (280 in 400 runs of development).

    A fixed test at 2.5 % one-sided with 80 % power takes (1.96 + 0.84)² / 0.04 = 196, known beforehand.
    """
    stops = []
    for seed in range(40):
        units = changes(0.0, seed=seed)
        state = falling().state(np.clip(units - units.std() / 5, -1, 1))
        assert state.answer is Answer.GOOD
        assert isinstance(state.interval, Estimate)
        stops.append(state.interval.n)

    assert np.mean(stops) < 330
