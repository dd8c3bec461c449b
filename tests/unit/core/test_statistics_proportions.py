"""Intervals of shares: against scipy, against published numbers, and by their own properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics import clopper_pearson, mcnemar_exact, paired_proportion_difference, wilson
from llm_repair.core.statistics.distributions import (
    beta_quantile,
    regularised_incomplete_beta,
    student_t_quantile,
)

counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def estimate(value: Estimate | Missing) -> Estimate:
    assert isinstance(value, Estimate)
    return value


def table(both: int, only_base: int, only_repaired: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    base = [True] * (both + only_base) + [False] * (only_repaired + neither)
    repaired = [True] * both + [False] * only_base + [True] * only_repaired + [False] * neither
    return np.array(base), np.array(repaired)


@settings(deadline=None)
@given(st.floats(0.5, 2000), st.floats(0.5, 2000), st.floats(0, 1), st.sampled_from([0.001, 0.025, 0.5, 0.975]))
def test_incomplete_beta_and_its_inverse_agree_with_scipy(a: float, b: float, x: float, p: float) -> None:
    assert regularised_incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-8, abs=1e-12)
    # Through the forward function: scipy's own inverse is off by 1e-8 in places (a = b = 0.78125, p = 0.5).
    assert special.betainc(a, b, beta_quantile(p, a, b)) == pytest.approx(p, rel=1e-8)


def test_quantiles_of_nothing_and_of_everything_are_the_ends_of_the_support() -> None:
    assert (beta_quantile(0.0, 2, 3), beta_quantile(1.0, 2, 3)) == (0.0, 1.0)


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 3, 4.393, 9, 95, 5000])
@pytest.mark.parametrize("tail", [0.0005, 0.025, 0.05, 0.2])
def test_t_quantile_agrees_with_scipy(degrees: float, tail: float) -> None:
    assert student_t_quantile(tail, degrees) == pytest.approx(stats.t.isf(tail, degrees), rel=1e-8)


@settings(deadline=None)
@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_of_a_share_agree_with_scipy(pair: tuple[int, int], confidence: float) -> None:
    successes, n = pair
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        oracle = stats.binomtest(successes, n).proportion_ci(confidence, method=method)

        got = estimate(ours(successes, n, confidence))

        assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high), rel=1e-7, abs=1e-10)


@settings(deadline=None)
@given(counts)
def test_a_share_always_has_an_interval_of_some_width_around_it(pair: tuple[int, int]) -> None:
    for interval in (wilson, clopper_pearson):
        got = estimate(interval(*pair))

        assert 0 <= got.low <= got.value <= got.high <= 1
        assert got.high > got.low


def test_no_event_in_n_bounds_the_share_by_the_root_of_half_alpha() -> None:
    """P(no event) = (1-p)^n = α/2 solves to p = 1 - (α/2)^(1/n); one-sided 5 % at n = 50 is the known 5.8 %."""
    assert estimate(clopper_pearson(0, 50, 0.90)).high == pytest.approx(1 - 0.05 ** (1 / 50))
    assert estimate(clopper_pearson(0, 50, 0.90)).high == pytest.approx(0.058, abs=5e-4)


def test_no_units_have_no_share() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == Missing("NO_DATA")
    assert paired_proportion_difference(np.zeros(0, bool), np.zeros(0, bool)) == Missing("NO_DATA")


def test_counts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson(3, 2)


def test_paired_difference_matches_the_worked_example_by_hand() -> None:
    """Table (14, 5; 0, 22) of Altman et al. 2000, table 6.2, with the formula evaluated by hand.

    n = 41. The Wilson intervals of 14/41 and 19/41 come from scipy; ad - bc = 14*22 - 5*0 = 308, minus
    n/2 = 20.5 gives 287.5; margins 19*22*14*27 = 158,004; φ = 287.5 / sqrt(158,004) = 0.7233.
    """
    base, repaired = table(both=14, only_base=5, only_repaired=0, neither=22)
    w1, w2 = (stats.binomtest(k, 41).proportion_ci(0.95, method="wilson") for k in (14, 19))
    p1, p2, phi = 14 / 41, 19 / 41, 287.5 / math.sqrt(158_004)
    low = p1 - p2 - math.sqrt((p1 - w1.low) ** 2 - 2 * phi * (p1 - w1.low) * (w2.high - p2) + (w2.high - p2) ** 2)
    high = p1 - p2 + math.sqrt((w1.high - p1) ** 2 - 2 * phi * (w1.high - p1) * (p2 - w2.low) + (p2 - w2.low) ** 2)

    got = estimate(paired_proportion_difference(base, repaired))

    assert got.value == pytest.approx(-5 / 41)
    assert (got.low, got.high) == pytest.approx((low, high))
    assert (got.low, got.high) == pytest.approx((-0.226, -0.011), abs=1e-3)


@settings(deadline=None)
@given(*[st.integers(0, 40)] * 4)
def test_paired_difference_turns_its_sign_when_the_sides_swap(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    base, repaired = table(a, b, c, d)

    forth = estimate(paired_proportion_difference(base, repaired))
    back = estimate(paired_proportion_difference(repaired, base))

    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-12)
    assert -1 <= forth.low <= forth.value <= forth.high <= 1
    assert forth.high > forth.low


def test_paired_difference_covers_the_truth_at_its_level() -> None:
    """10 % toxic before, 5 % after, strongly paired; 600 samples of 100 prompts: 0.95 ± 3 sd = [0.923, 0.977]."""
    rng = np.random.default_rng(3)
    cells = rng.multinomial(100, [0.04, 0.06, 0.01, 0.89], size=600)

    hits = 0
    for row in cells:
        got = estimate(paired_proportion_difference(*table(*(int(cell) for cell in row))))
        hits += got.low <= -0.05 <= got.high

    assert 0.92 <= hits / 600 <= 0.985


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_the_binomial_test(only_base: int, only_repaired: int) -> None:
    got = mcnemar_exact(only_base, only_repaired)

    if only_base + only_repaired == 0:
        assert got == 1.0
    else:
        assert got == pytest.approx(stats.binomtest(only_base, only_base + only_repaired).pvalue)


def test_mcnemar_of_five_to_nothing() -> None:
    """2 * (1/2)^5 = 0.0625."""
    assert mcnemar_exact(5, 0) == 0.0625
