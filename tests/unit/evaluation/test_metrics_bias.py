"""Metrics of sentence pairs, worked out by hand; intervals against simulation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from llm_repair.core.metrics import Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.bias import bias_metrics
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import SentencePair
from llm_repair.evaluation.metrics.records import PairRecord

INFERENCE = Inference(protocol="strict.v1", confidence=0.95, seed=1, replicates=500)


def pair(base: float, repaired: float, group: str = "", number: int = 0) -> PairRecord:
    """Differences ln p(more) - ln p(less) before and after."""
    sides = (SentencePair(group, 50.0 - difference, 50.0, 9, 9) for difference in (base, repaired))
    return PairRecord("crows", f"p{number:04d}", group, *sides)


def measure(rows: Sequence[PairRecord], inference: Inference = INFERENCE) -> dict[str, Metric]:
    metrics = bias_metrics(rows, inference)
    return {metric.id.removeprefix("bias.crows."): metric for metric in metrics if not metric.slice}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


ROWS = [pair(2.0, 1.0), pair(1.0, -1.0), pair(3.0, 0.5), pair(-2.0, -1.5)]


def test_values_are_shares_distances_and_mean_differences() -> None:
    """3 of 4 prefer before, 2 of 4 after; distances 0.25 and 0; mean |difference| 2 and 1."""
    got = measure(ROWS)

    assert estimate(got["preference"].base).value == 0.75
    assert estimate(got["preference"].change).value == -0.25
    assert estimate(got["imbalance"].base).value == 0.25
    assert estimate(got["imbalance"].repaired).value == 0.0
    assert estimate(got["imbalance"].change).value == -0.25
    assert estimate(got["log_ratio"].base).value == pytest.approx(2.0)
    assert estimate(got["log_ratio"].change).value == pytest.approx(-1.0)
    assert all(metric.direction is Direction.LOWER_IS_BETTER and metric.gating for metric in got.values())


def test_the_level_of_preference_has_the_exact_interval() -> None:
    """Clopper-Pearson of 3 in 4 at 95 %: [0.1941, 0.9937]; its distances from 0.5 reach from 0 to 0.4937."""
    got = measure(ROWS)

    assert (estimate(got["preference"].base).low, estimate(got["preference"].base).high) == pytest.approx(
        (0.1941, 0.9937), abs=5e-5
    )
    assert (estimate(got["imbalance"].base).low, estimate(got["imbalance"].base).high) == pytest.approx(
        (0.0, 0.4937), abs=5e-5
    )


def test_a_tie_counts_half_and_widens_the_interval_to_both_sides() -> None:
    """One win, one tie, two losses: the lower end of 1 in 4 and the upper end of 2 in 4."""
    tied = estimate(measure([pair(1, 1), pair(0, 0), pair(-1, -1), pair(-1, -1)])["preference"].base)
    one = estimate(measure([pair(1, 1), pair(-1, -1), pair(-1, -1), pair(-1, -1)])["preference"].base)
    two = estimate(measure([pair(1, 1), pair(1, 1), pair(-1, -1), pair(-1, -1)])["preference"].base)

    assert tied.value == 0.375
    assert (tied.low, tied.high) == (one.low, two.high)


def test_where_both_models_lie_on_one_side_the_imbalance_changes_like_the_preference() -> None:
    """600 of 1,000 before and 560 after, of which 40 changed: its interval is that at 95.5 % instead of 95 %."""
    rows = [*[pair(1, 1)] * 560, *[pair(1, -1)] * 40, *[pair(-1, -1)] * 400]

    got = measure(rows)

    preference, imbalance = estimate(got["preference"].change), estimate(got["imbalance"].change)
    assert imbalance.value == pytest.approx(preference.value)
    assert imbalance.low <= preference.low < preference.high <= imbalance.high < 0
    assert imbalance.high - imbalance.low < 1.04 * (preference.high - preference.low)


def test_a_preference_turned_around_is_no_better() -> None:
    """700 of 1,000 before and 300 after: the preference fell by 0.4, the distance from even not at all."""
    rows = [*[pair(1, -1)] * 400, *[pair(1, 1)] * 300, *[pair(-1, -1)] * 300]

    got = measure(rows)

    assert estimate(got["preference"].change).high < 0
    imbalance = estimate(got["imbalance"].change)
    assert imbalance.value == pytest.approx(0.0)
    assert imbalance.low < 0 < imbalance.high


def test_no_imbalance_is_beyond_a_half() -> None:
    """9 of 10 before and 10 of 10 after: from 0.4 it can rise by 0.5 at most, if it was 0 before."""
    got = measure([*[pair(1, 1)] * 9, pair(-1, 1)])

    for quantity in (got["imbalance"].base, got["imbalance"].repaired, got["imbalance"].change):
        assert estimate(quantity).high <= 0.5
    assert estimate(got["imbalance"].change).value == pytest.approx(0.1)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.5), (0.5, 0.6), (0.55, 0.45), (0.7, 0.6)])
def test_the_interval_of_the_change_of_imbalance_holds_the_truth(before: float, after: float) -> None:
    """Of 400 simulations with 200 pairs at most 8.3 % may miss at 95 %: three standard errors above 5 %."""
    rng = np.random.default_rng(5)
    # Nothing of this interval is resampled.
    inference = dataclasses.replace(INFERENCE, replicates=2)
    truth = abs(after - 0.5) - abs(before - 0.5)
    missed = 0
    for _ in range(400):
        draws = rng.random(200)
        # The same uniform draw decides both sides, so that they are paired as two models are.
        sides = np.where(draws[:, None] < (before, after), 1.0, -1.0)
        rows = [pair(float(base), float(repaired)) for base, repaired in sides]
        found = estimate(measure(rows, inference)["imbalance"].change)
        missed += not found.low <= truth <= found.high

    assert missed / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_every_group_has_its_own_numbers_and_a_single_pair_an_honest_one() -> None:
    rows = [pair(1, 1, "age", 0), pair(-1, 1, "age", 1), pair(2, 2, "religion", 2), pair(1, 1, "", 3)]

    by_slice = _by_slice(bias_metrics(rows, INFERENCE))

    assert {slice_ for _, slice_ in by_slice} == {"", "age", "religion"}
    assert estimate(by_slice["preference", "age"].base).value == 0.5
    single = estimate(by_slice["preference", "religion"].base)
    assert (single.value, single.low, single.high) == (1.0, pytest.approx(0.025), 1.0)
    assert by_slice["log_ratio", "religion"].base == Missing("TOO_FEW_UNITS")
    assert estimate(by_slice["preference", ""].base).n == 4


def _by_slice(metrics: Iterable[Metric]) -> dict[tuple[str, str], Metric]:
    return {(metric.id.rpartition(".")[2], metric.slice): metric for metric in metrics}


def test_a_pair_without_a_likelihood_prefers_nothing() -> None:
    got = measure([*ROWS, pair(1.0, math.nan)])

    for name in ("preference", "imbalance", "log_ratio"):
        assert isinstance(got[name].base, Estimate)
        assert got[name].repaired == got[name].change == Missing("NOT_FINITE")


def test_no_pairs_have_no_metrics() -> None:
    assert measure([]) == {}
