"""The bootstrap over units: its degenerate cases, its exact part, and its coverage. Its ends: test_statistics_bca."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics import (
    bootstrap,
    bootstrap_families,
    clopper_pearson,
    generator,
    mean,
    paired_mean_difference,
    paired_ratio_difference,
    ratio_of_sums,
)

values_in_unit = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30).map(
    lambda values: np.array(values, dtype=np.float64)
)


def estimate(value: Estimate | Missing) -> Estimate:
    assert isinstance(value, Estimate)
    return value


def first_column(means: np.ndarray) -> np.ndarray:
    return means[:, 0]


def test_one_family_too_small_to_resample_is_missed_by_name() -> None:
    def total(means: np.ndarray) -> np.ndarray:
        return means.sum(axis=1)

    for few, reason in ((np.zeros((0, 1)), "NO_DATA"), (np.zeros((1, 1)), "TOO_FEW_UNITS")):
        assert bootstrap_families([np.eye(9), few], total, generator(0, "x")) == Missing(reason)


def test_equal_seeds_repeat_and_purposes_differ() -> None:
    values = np.random.default_rng(0).random(40)

    one, again, other = (mean(values, generator(5, purpose)) for purpose in ("a", "a", "b"))

    assert one == again
    assert one != other
    assert mean(values, generator(6, "a")) != one


def test_chunks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row a chunk the same generator yields another stream, but the interval stays put."""
    values = np.random.default_rng(0).random(200)
    whole = estimate(mean(values, generator(1, "x"), replicates=2000))

    monkeypatch.setattr("llm_repair.core.statistics.resampling._CHUNK_CELLS", 200)
    chunked = estimate(mean(values, generator(1, "x"), replicates=2000))

    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high), abs=0.01)


@pytest.mark.parametrize(
    ("values", "reason"),
    [([], "NO_DATA"), ([0.3], "TOO_FEW_UNITS"), ([0.3, float("nan")], "NOT_FINITE"), ([0.3] * 9, "NO_VARIATION")],
)
def test_too_little_data_has_a_reason_and_no_interval(values: list[float], reason: str) -> None:
    assert mean(np.array(values), generator(0, "x")) == Missing(reason)


def test_a_ratio_whose_denominator_can_vanish_is_missing() -> None:
    got = ratio_of_sums(np.array([1.0, 0.0, 0.0]), np.array([2.0, 0.0, 0.0]), generator(0, "x"))

    assert got == Missing("UNDEFINED_IN_RESAMPLES")


@pytest.mark.parametrize("n", [2, 50, 191])
def test_no_event_in_a_known_support_gives_the_exact_bound(n: int) -> None:
    got = estimate(mean(np.zeros(n), generator(0, "x"), support=(0.0, 1.0)))

    assert (got.value, got.low) == (0.0, 0.0)
    assert got.high == pytest.approx(estimate(clopper_pearson(0, n)).high)


def test_equal_pairs_in_a_known_support_bound_the_change_on_both_sides() -> None:
    """u = 1 - 0.025^(1/100) = 0.0362; a unit of another kind could change by -1 to 1."""
    same = np.full(100, 0.25)

    got = estimate(paired_mean_difference(same, same, generator(0, "x"), support=(0.0, 1.0)))

    assert (got.value, got.low, got.high) == pytest.approx((0.0, -0.0362, 0.0362), abs=5e-5)


def test_one_rare_event_never_narrows_the_bound_that_no_event_gave() -> None:
    none, one = np.zeros(100), np.zeros(100)
    one[3] = 0.25

    without = estimate(mean(none, generator(0, "x"), support=(0.0, 1.0)))
    with_one = estimate(mean(one, generator(0, "x"), support=(0.0, 1.0)))

    assert with_one.high > without.high


def test_varied_data_are_not_widened_by_their_support() -> None:
    values = np.random.default_rng(0).random(100)

    assert mean(values, generator(0, "x"), support=(0.0, 1.0)) == mean(values, generator(0, "x"))


@settings(deadline=None, max_examples=60)
@given(values_in_unit, st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_holds_the_value_and_stays_in_the_support(values: np.ndarray, confidence: float) -> None:
    got = mean(values, generator(0, "x"), support=(0.0, 1.0), confidence=confidence, replicates=500)

    assert isinstance(got, Estimate)
    assert -1e-12 <= got.low <= got.value <= got.high <= 1 + 1e-12
    assert got.high > got.low


@settings(deadline=None, max_examples=40)
@given(values_in_unit, st.floats(0.1, 10), st.floats(-5, 5))
def test_interval_follows_a_change_of_scale(values: np.ndarray, scale: float, shift: float) -> None:
    plain = mean(values, generator(0, "x"), replicates=500)
    moved = mean(values * scale + shift, generator(0, "x"), replicates=500)

    if isinstance(plain, Estimate) and isinstance(moved, Estimate) and float(np.ptp(values)) > 1e-3:
        expected = [scale * end + shift for end in (plain.low, plain.value, plain.high)]
        assert [moved.low, moved.value, moved.high] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_paired_difference_is_the_mean_of_the_differences() -> None:
    rng = np.random.default_rng(4)
    base, repaired = rng.random(80), rng.random(80)

    got = paired_mean_difference(base, repaired, generator(0, "x"))

    assert got == mean(repaired - base, generator(0, "x"))


def test_pairing_narrows_the_interval_of_coupled_units() -> None:
    """sd of the units 1, of their change 0.1: the paired interval is about 14 times narrower than unpaired."""
    rng = np.random.default_rng(4)
    base = rng.normal(size=200)
    repaired = base - 0.1 + rng.normal(scale=0.1, size=200)

    paired = estimate(paired_mean_difference(base, repaired, generator(0, "x")))
    alone = estimate(mean(repaired, generator(0, "x")))

    assert paired.high < 0
    assert (alone.high - alone.low) > 7 * (paired.high - paired.low)


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        paired_mean_difference(np.zeros(2), np.zeros(3), generator(0, "x"))


def test_ratio_difference_takes_both_ratios_over_the_same_units() -> None:
    """(2+1)/(4+2) - (1+1)/(4+2) = 1/6."""
    got = paired_ratio_difference(
        (np.array([1.0, 1.0]), np.array([4.0, 2.0])),
        (np.array([2.0, 1.0]), np.array([4.0, 2.0])),
        generator(0, "x"),
    )

    assert estimate(got).value == pytest.approx(1 / 6)


def test_composites_are_recomputed_inside_each_replicate() -> None:
    """A composite of two perfectly opposed columns does not vary, though each column does."""
    column = np.random.default_rng(0).random(50)
    units = np.stack([column, 1 - column], axis=1)

    assert bootstrap(units, lambda means: means.sum(axis=1), generator(0, "x")) == Missing("NO_VARIATION")


@pytest.mark.parametrize(("n", "least"), [(10, 0.905), (60, 0.925)])
def test_intervals_cover_a_skewed_mean_close_to_their_level(n: int, least: float) -> None:
    """Beta(0.4, 1.6) scores, mean 0.2, 1,000 samples: Monte Carlo sd of the coverage about 0.008.

    The plain percentile bootstrap covers 0.87 at n = 10 (2,000 samples, measured), which must fail this test.
    """
    rng = np.random.default_rng(11)

    hits = 0
    for _ in range(1000):
        got = estimate(mean(rng.beta(0.4, 1.6, size=n), rng, replicates=600))
        hits += got.low <= 0.2 <= got.high

    assert least <= hits / 1000 <= 0.985


@pytest.mark.parametrize("rate", [0.003, 0.01, 0.03])
def test_intervals_cover_rare_events(rate: float) -> None:
    """300 samples of 100 units that rarely have an event: without the exact part 0.01 is covered 63 % of the time.

    (No event in 100 happens with 0.99^100 = 0.37, and a bootstrap of zeros knows nothing else.)
    """
    rng = np.random.default_rng(2)

    hits = 0
    for _ in range(300):
        events = (rng.random(100) < rate).astype(np.float64)
        got = estimate(mean(events, rng, support=(0.0, 1.0), replicates=400))
        hits += got.low <= rate <= got.high

    assert hits / 300 >= 0.93


def test_bootstrap_of_a_statistic_uses_every_column() -> None:
    units = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]])

    assert estimate(bootstrap(units, first_column, generator(0, "x"))).value == pytest.approx(3.0)
    assert estimate(bootstrap(units, lambda m: m[:, 1], generator(0, "x"))).value == pytest.approx(20.0)
