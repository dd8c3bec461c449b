"""Holm's adjustment and p-values from intervals: against scipy, worked examples and their own laws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Missing
from llm_repair.core.statistics import clopper_pearson, holm, one_sided_p_value

LOWER, HIGHER = Direction.LOWER_IS_BETTER, Direction.HIGHER_IS_BETTER
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_holm_of_a_worked_example() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04, and the last may not be below 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_adjusted_p_values_are_no_smaller_in_the_same_order_and_at_most_those_of_bonferroni(raw: list[float]) -> None:
    adjusted = holm(raw)

    assert all(p <= a <= min(1.0, len(raw) * p) for p, a in zip(raw, adjusted, strict=True))
    for one, two in itertools.combinations(range(len(raw)), 2):
        if raw[one] <= raw[two]:
            assert adjusted[one] <= adjusted[two]


@given(p_values, st.randoms())
def test_the_order_of_the_hypotheses_changes_nothing(raw: list[float], random: object) -> None:
    places = list(range(len(raw)))
    random.shuffle(places)  # pyright: ignore

    assert holm([raw[place] for place in places]) == tuple(holm(raw)[place] for place in places)


@given(p_values, st.floats(0.001, 0.5))
def test_holm_rejects_what_the_closed_test_of_bonferroni_rejects(raw: list[float], level: float) -> None:
    """Marcus, Peritz and Gabriel 1976: a hypothesis falls if every intersection it is part of falls."""
    places = range(len(raw))

    def falls(place: int) -> bool:
        subsets = itertools.chain.from_iterable(itertools.combinations(places, size) for size in range(1, len(raw) + 1))
        return all(min(raw[i] for i in subset) * len(subset) <= level for subset in subsets if place in subset)

    assert [adjusted <= level for adjusted in holm(raw)] == [falls(place) for place in places]


def test_no_hypothesis_has_no_adjustment_and_one_is_left_as_it_is() -> None:
    assert holm([]) == ()
    assert holm([0.037]) == (0.037,)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.5, wrong])


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(0.01, 2), st.floats(-3, 3), st.sampled_from([0.8, 0.95, 0.99]))
def test_p_of_a_normal_interval_is_that_of_the_z_test(value: float, error: float, bound: float, c: float) -> None:
    z = stats.norm.ppf(0.5 + c / 2)
    interval = Estimate(value, value - z * error, value + z * error, 50)

    below = one_sided_p_value(interval, bound, LOWER, c)
    above = one_sided_p_value(interval, bound, HIGHER, c)

    assert below == pytest.approx(stats.norm.cdf((value - bound) / error), rel=1e-6, abs=1e-12)
    assert below + above == pytest.approx(1.0)


def test_p_where_the_end_meets_the_bound_is_half_of_what_the_confidence_leaves() -> None:
    interval = Estimate(-0.1, -0.15, -0.02, 100)

    assert one_sided_p_value(interval, -0.02, LOWER, 0.95) == pytest.approx(0.025)
    assert one_sided_p_value(interval, -0.15, LOWER, 0.95) == pytest.approx(0.975)
    assert one_sided_p_value(interval, -0.15, HIGHER, 0.95) == pytest.approx(0.025)
    assert one_sided_p_value(interval, -0.02, LOWER, 0.99) == pytest.approx(0.005)


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0.001, 1), st.floats(0.001, 1), st.floats(-1, 1), st.floats(0, 1))
def test_p_falls_as_the_bound_gets_easier(value: float, down: float, up: float, bound: float, easier: float) -> None:
    interval = Estimate(value, value - down, value + up, 50)

    strict, lax = (one_sided_p_value(interval, at, LOWER, 0.95) for at in (bound, bound + easier))

    assert lax <= strict


def test_ratios_are_compared_on_the_log_scale() -> None:
    """exp(0.02 ± 1.96 * 0.01) against exp(0.05): z = 3."""
    interval = Estimate(math.exp(0.02), math.exp(0.02 - 0.0196), math.exp(0.02 + 0.0196), 60)

    p = one_sided_p_value(interval, math.exp(0.05), LOWER, 0.95, kind=ChangeKind.RATIO)

    assert p == pytest.approx(stats.norm.sf(3.0), rel=1e-3)


@pytest.mark.parametrize(
    "quantity",
    [
        Missing("NO_DATA"),
        Estimate(math.nan, -1, 1, 9),
        Estimate(-0.7, -math.inf, -0.5, 9),
        Estimate(-0.7, -0.5, -0.9, 9),
    ],
)
def test_without_an_interval_nothing_speaks_for_a_claim(quantity: Estimate | Missing) -> None:
    assert one_sided_p_value(quantity, 5.0, LOWER, 0.95) == 1.0


def test_a_ratio_that_is_not_above_zero_speaks_for_nothing() -> None:
    assert one_sided_p_value(Estimate(1.0, 0.0, 1.1, 9), 2.0, LOWER, 0.95, kind=ChangeKind.RATIO) == 1.0
    assert one_sided_p_value(Estimate(1.0, 0.9, 1.1, 9), 0.0, HIGHER, 0.95, kind=ChangeKind.RATIO) == 1.0


def test_degenerate_intervals_have_defined_p_values() -> None:
    point = Estimate(0.2, 0.2, 0.2, 30)

    assert one_sided_p_value(point, 0.3, LOWER, 0.95) == 0.0
    assert one_sided_p_value(point, 0.1, LOWER, 0.95) == 1.0
    assert one_sided_p_value(point, 0.2, LOWER, 0.95) == 0.5
    assert one_sided_p_value(Estimate(0.2, 0.1, 0.3, 30), 0.2, HIGHER, 0.95) == 0.5
    assert one_sided_p_value(Estimate(0.0, 0.0, 0.1, 30), -0.1, LOWER, 0.95) == 1.0


def test_p_of_no_event_is_bolder_than_the_exact_one_by_as_much_as_is_said() -> None:
    """(1-b)^n is the exact p of no event in n against a rate of b or more; n = 1,000, p = 0.00625 by the interval."""
    interval = clopper_pearson(0, 1000)
    assert isinstance(interval, Estimate)
    bound = interval.high * stats.norm.isf(0.00625) / stats.norm.isf(0.025)

    assert one_sided_p_value(interval, bound, LOWER, 0.95) == pytest.approx(0.00625, rel=1e-3)
    assert (1 - bound) ** 1000 == pytest.approx(0.009, abs=2e-4)


def test_holm_keeps_the_chance_of_any_false_pass_below_the_level() -> None:
    """Three true nulls on their bounds, normal intervals that share half of their noise; 20,000 runs.

    Unadjusted, the chance is about three times the 2.5 % of each.
    """
    rng = np.random.default_rng(0)
    noise = (rng.normal(size=(20_000, 3)) + rng.normal(size=(20_000, 1))) / math.sqrt(2)
    raw = stats.norm.cdf(noise)

    adjusted = np.array([holm(row) for row in raw.tolist()])

    assert np.mean(adjusted.min(axis=1) <= 0.025) <= 0.0275
    assert np.mean(raw.min(axis=1) <= 0.025) > 0.05
