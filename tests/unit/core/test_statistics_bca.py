"""The ends of bootstrap intervals: BCa against scipy on equal resamples, and the two repairs by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm_repair.core.metrics import Estimate
from llm_repair.core.statistics import bootstrap, bootstrap_families, mean, ratio_of_sums
from llm_repair.core.statistics.bca import (
    acceleration,
    bca_ends,
    bca_interval,
    median_bias,
    skewness_trust,
    student_tail,
)

REPLICATES = 3000


def resamples(*samples: np.ndarray) -> list[np.ndarray]:
    """What scipy draws with the same generator: sample by sample, (replicates, n) each."""
    rng = np.random.default_rng(7)
    return [sample[rng.integers(0, len(sample), size=(REPLICATES, len(sample)))] for sample in samples]


def ends_by_scipy(*samples: np.ndarray, statistic: object, **how: object) -> tuple[float, float]:
    interval = stats.bootstrap(
        samples, statistic, n_resamples=REPLICATES, batch=REPLICATES, confidence_level=0.95, method="BCa",
        rng=np.random.default_rng(7), **how,
    ).confidence_interval  # fmt: skip
    return interval.low, interval.high


def influences_of(statistic: object, *samples: np.ndarray) -> list[np.ndarray]:
    """The definition: leave out one unit of one sample after the other."""
    found = []
    for place, sample in enumerate(samples):
        left_out = np.array(
            [
                statistic(*samples[:place], np.delete(sample, i, axis=0), *samples[place + 1 :])  # pyright: ignore
                for i in range(len(sample))
            ]
        )
        found.append((len(sample) - 1) * (left_out.mean() - left_out))
    return found


@pytest.mark.parametrize("n", [8, 60, 400])
def test_ends_of_a_mean_agree_with_scipy_on_the_same_resamples(n: int) -> None:
    values = np.random.default_rng(1).gamma(0.5, size=n)
    draws = resamples(values)[0].mean(axis=1)

    got = bca_ends(
        draws, median_bias(values.mean(), draws), acceleration(influences_of(np.mean, values)), stats.norm.sf(1.959964)
    )

    assert got == pytest.approx(ends_by_scipy(values, statistic=np.mean), rel=1e-5)


def test_ends_of_a_ratio_over_two_families_agree_with_scipy_on_the_same_resamples() -> None:
    """scipy has the acceleration for several samples, too."""
    rng = np.random.default_rng(3)
    above, below = rng.gamma(0.5, size=25), rng.gamma(3, size=60)
    one, two = resamples(above, below)
    draws = one.mean(axis=1) / two.mean(axis=1)
    influences = influences_of(lambda a, b: a.mean() / b.mean(), above, below)

    bias = median_bias(above.mean() / below.mean(), draws)
    got = bca_ends(draws, bias, acceleration(influences), 0.025)

    assert got == pytest.approx(
        ends_by_scipy(above, below, statistic=lambda a, b, axis: a.mean(axis) / b.mean(axis), vectorized=True),
        rel=1e-9,
    )


def test_bootstraps_of_one_family_and_of_two_hand_over_the_resamples_and_influences_of_the_definition() -> None:
    rng = np.random.default_rng(2)
    values, tokens = rng.gamma(0.5, size=50), rng.integers(5, 200, size=50).astype(float)
    nll = tokens * rng.normal(3.0, 0.3, size=50)
    units = np.stack([nll, tokens], axis=1)
    one, both = resamples(values)[0].mean(axis=1), resamples(units)[0].mean(axis=1)
    two = resamples(values, tokens)

    found = [
        mean(values, np.random.default_rng(7), replicates=REPLICATES),
        ratio_of_sums(nll, tokens, np.random.default_rng(7), replicates=REPLICATES),
        bootstrap_families(
            [values[:, None], tokens[:, None]],
            lambda m: m[:, 0] * m[:, 1],
            np.random.default_rng(7),
            replicates=REPLICATES,
        ),
    ]

    expected = [
        bca_interval(values.mean(), one, influences_of(np.mean, values), 0.95),
        bca_interval(
            nll.sum() / tokens.sum(),
            both[:, 0] / both[:, 1],
            influences_of(lambda rows: rows[:, 0].sum() / rows[:, 1].sum(), units),
            0.95,
        ),
        bca_interval(
            values.mean() * tokens.mean(),
            two[0].mean(axis=1) * two[1].mean(axis=1),
            influences_of(lambda a, b: a.mean() * b.mean(), values, tokens),
            0.95,
        ),
    ]
    for got, ends, n in zip(found, expected, (50, 50, 100), strict=True):
        assert isinstance(got, Estimate)
        assert (got.low, got.high) == pytest.approx(ends, rel=1e-9)
        assert got.n == n


def test_tails_of_light_units_are_those_of_student_with_n_less_one() -> None:
    """Φ(-sqrt(n/(n-1)) t_{0.975, n-1}) by scipy; evenly spread units have a kurtosis below 3, which counts as 3."""
    for n in (2, 5, 20, 100_000):
        expected = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.isf(0.025, n - 1))
        assert student_tail(0.95, [np.linspace(-1, 1, n)]) == pytest.approx(max(expected, 1e-12), rel=1e-5)


def test_tails_of_two_families_have_the_degrees_of_freedom_of_welch() -> None:
    """The influence of a unit on a difference of means is its deviation; scipy's Welch test has the same degrees."""
    small, large = 3 * np.linspace(-1, 1, 7), np.linspace(-1, 1, 40)
    degrees = stats.ttest_ind(small, large, equal_var=False).df
    plain, unbiased = (small.var(ddof=d) / 7 + large.var(ddof=d) / 40 for d in (0, 1))

    tail = student_tail(0.95, [small, -large])

    assert tail == pytest.approx(stats.norm.cdf(-np.sqrt(unbiased / plain) * stats.t.isf(0.025, degrees)), rel=1e-5)


def test_tails_of_a_few_large_units_among_zeros_have_as_few_degrees_of_freedom() -> None:
    """2 units of ±1 among 20: the mean of the 4th powers is 0.1, of squares 0.1, so the kurtosis is 10.

    ν = 2 * 20 / (10 - 17/19) = 4.393 instead of 19.
    """
    units = np.zeros(20)
    units[:2] = 1, -1

    tail = student_tail(0.95, [units])

    assert tail == pytest.approx(stats.norm.cdf(-np.sqrt(20 / 19) * stats.t.isf(0.025, 40 / (10 - 17 / 19))), rel=1e-5)


def test_degrees_of_freedom_are_those_of_the_variance_of_a_sample_variance() -> None:
    """Simulated: 20,000 sample variances of 30 units of a law of kurtosis 6 (Laplace); chi-square: 2 E² / Var."""
    draws = np.random.default_rng(0).laplace(size=(20_000, 30))
    variances = draws.var(axis=1, ddof=1)

    expected = 2 * 30 / (6 - 27 / 29)

    assert 2 * variances.mean() ** 2 / variances.var() == pytest.approx(expected, rel=0.05)


def test_a_statistic_that_is_flat_at_the_data_takes_the_tail_of_its_smallest_family() -> None:
    assert student_tail(0.95, [np.zeros(5), np.zeros(90)]) == pytest.approx(student_tail(0.95, [np.linspace(-1, 1, 5)]))


def test_skewness_is_trusted_as_far_as_it_stands_out_of_its_noise() -> None:
    """One unit of 3 against three of -1: m = 3, γ² = (24/4)² / 3³ / 4 = 1/3, in units of the mean.

    l³ - 9 l is 0 for 3 and 8 for -1, so v = 48 / 4² / 3³ = 1/9 and 1 - 2 v / γ² = 1/3.
    """
    assert skewness_trust([np.array([3.0, -1.0, -1.0, -1.0])]) == pytest.approx(1 / 3)


def test_no_skewness_and_no_variation_are_not_trusted() -> None:
    assert skewness_trust([np.array([-2.0, -1.0, 1.0, 2.0])]) == 0.0
    assert skewness_trust([np.zeros(4)]) == 0.0


def test_noise_of_skewness_is_six_over_n_for_normal_units() -> None:
    """So trust is 1 - 12 / (n g²) for a sample skewness g; 400 normal units plus a few on one side."""
    rng = np.random.default_rng(0)
    trusts = []
    for _ in range(300):
        units = rng.normal(size=400)
        units -= units.mean()
        trusts.append((skewness_trust([units]), max(0.0, 1 - 12 / (400 * stats.skew(units) ** 2))))

    found, expected = np.array(trusts).T
    assert found.mean() == pytest.approx(expected.mean(), abs=0.03)
    assert np.mean(found == 0) == pytest.approx(stats.chi2.cdf(2, 1), abs=0.08)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=30), st.floats(1e-40, 1e40), st.randoms())
def test_neither_scale_nor_order_of_the_units_matters(values: list[float], scale: float, random: object) -> None:
    units = np.array(values, dtype=np.float64)
    units -= units.mean()
    if np.abs(units).max() < 1e-3:
        return
    order = list(range(len(units)))
    random.shuffle(order)  # pyright: ignore

    plain, moved = [units], [units[order] * scale]

    assert acceleration(moved) == pytest.approx(acceleration(plain), abs=1e-9)
    assert skewness_trust(moved) == pytest.approx(skewness_trust(plain), abs=1e-6)
    assert student_tail(0.95, moved) == pytest.approx(student_tail(0.95, plain), rel=1e-4)


def test_more_confidence_is_wider() -> None:
    units = np.random.default_rng(0).beta(0.4, 1.6, size=(60, 1))
    found = [
        bootstrap(units, lambda m: m[:, 0], np.random.default_rng(7), confidence=confidence)
        for confidence in (0.8, 0.9, 0.95, 0.99)
    ]

    ends = [(each.low, each.high) for each in found if isinstance(each, Estimate)]
    assert len(ends) == 4
    assert ends == sorted(ends, key=lambda end: end[0], reverse=True)
    assert ends == sorted(ends, key=lambda end: end[1])


def test_few_units_reach_as_far_as_students_t() -> None:
    """0.1, 0.2 and 0.6: mean 0.3, s = 0.26458, and t = 4.3027 with 2 degrees of freedom: 0.3 ± 0.65725."""
    found = mean(np.array([0.1, 0.2, 0.6]), np.random.default_rng(0))

    assert isinstance(found, Estimate)
    assert (found.low, found.high) == pytest.approx((-0.35725, 0.95725), abs=1e-4)


def test_ten_units_are_left_to_the_bootstrap() -> None:
    values = np.random.default_rng(1).random(10)
    nine, ten = (mean(values[:n], np.random.default_rng(0)) for n in (9, 10))

    halves = [stats.t.isf(0.025, n - 1) * values[:n].std(ddof=1) / np.sqrt(n) for n in (9, 10)]
    assert isinstance(nine, Estimate)
    assert isinstance(ten, Estimate)
    assert min(nine.high - nine.value, nine.value - nine.low) >= halves[0] - 1e-9
    assert min(ten.high - ten.value, ten.value - ten.low) < halves[1]


def test_no_end_lies_where_no_value_can() -> None:
    few = np.array([0.1, 0.2, 0.6])
    within = mean(few, np.random.default_rng(0), support=(0.0, 1.0))
    rate = ratio_of_sums(few, np.ones(3), np.random.default_rng(0), support=(0.0, 0.8))

    assert isinstance(within, Estimate)
    assert isinstance(rate, Estimate)
    assert (within.low, rate.low, rate.high) == (0.0, 0.0, 0.8)
