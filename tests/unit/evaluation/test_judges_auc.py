"""The area under the ROC curve: by hand, against scikit-learn, and an interval that covers what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.evaluation.judges.auc import area_under_curve


def area(positive: list[float] | np.ndarray, negative: list[float] | np.ndarray, confidence: float = 0.95) -> Estimate:
    found = area_under_curve(np.array(positive, dtype=np.float64), np.array(negative, dtype=np.float64), confidence)
    assert isinstance(found, Estimate)
    return found


def test_pairs_are_counted_and_ties_by_half() -> None:
    """0.9 beats all three; 0.5 beats 0.1, ties with 0.5 and loses to 0.7: (3 + 1 + 1/2) of 6 pairs."""
    found = area([0.9, 0.5], [0.1, 0.5, 0.7])

    assert found.value == 4.5 / 6
    assert found.n == 5


def test_area_equals_that_of_an_independent_implementation() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        positive, negative = rng.integers(0, 12, 30) / 10 + 0.2, rng.integers(0, 12, 17) / 10
        labels = [1] * positive.size + [0] * negative.size

        expected = roc_auc_score(labels, np.concatenate([positive, negative]))

        assert area(positive, negative).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("m", "n", "wins"), [(60, 60, 0.7), (15, 60, 0.5), (8, 5, 0.95), (60, 60, 1.0)])
def test_ends_lie_a_normal_quantile_of_hanley_and_mcneils_deviation_from_the_area(m: int, n: int, wins: float) -> None:
    """With m and n replaced by their mean in Q1 and Q2's factors; z for 95 % is 1.959964."""
    positive = np.ones(m)
    negative = np.where(np.arange(n) < round(wins * n), 0.0, 2.0)
    found, k = area(positive, negative), (m + n) / 2 - 1

    def deviation(theta: float) -> float:
        q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
        return math.sqrt((theta * (1 - theta) + k * (q1 - theta**2) + k * (q2 - theta**2)) / (m * n))

    assert found.value - found.low == pytest.approx(1.959964 * deviation(found.low), rel=1e-6)
    if found.value < 1:
        assert found.high - found.value == pytest.approx(1.959964 * deviation(found.high), rel=1e-6)


def test_a_perfect_separation_still_has_an_interval() -> None:
    """10 and 10: at t = 0.8002, V = 0.15988 (1 + 9 (0.16653 + 0.44451)) / 100 = 0.010391 and z² V = (1 - t)²."""
    found = area(np.arange(10) + 10.0, np.arange(10))

    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.8002, abs=1e-4)
    assert area(np.arange(10), np.arange(10) + 10.0).high == pytest.approx(1 - found.low)


def test_a_wider_confidence_and_fewer_texts_give_a_wider_interval() -> None:
    many = area(np.arange(40) + 10.0, np.arange(40))
    sure, few = area(np.arange(40) + 10.0, np.arange(40), 0.99), area([14.0, 34.0], [4.0, 24.0])

    assert sure.low < many.low < many.value < many.high < sure.high
    assert few.high - few.low > many.high - many.low


@pytest.mark.parametrize(
    ("positive", "negative", "reason"),
    [([], [], "NO_DATA"), ([0.5], [], "ONE_CLASS_ONLY"), ([], [0.5], "ONE_CLASS_ONLY")],
)
def test_one_class_alone_has_no_area(positive: list[float], negative: list[float], reason: str) -> None:
    assert area_under_curve(np.array(positive), np.array(negative)) == Missing(reason)


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.5), (1.0, 0.760250), (2.0, 0.921350)])
def test_the_interval_covers_the_truth_in_95_of_100_samples_of_normal_scores(shift: float, truth: float) -> None:
    """Truth: Φ(shift / √2). 2,000 samples leave a standard error of 0.5 %."""
    rng = np.random.default_rng(7)

    held = [
        found.low <= truth <= found.high
        for found in (area(rng.normal(shift, 1, 30), rng.normal(0, 1, 30)) for _ in range(2_000))
    ]

    assert 0.935 <= np.mean(held) <= 0.975
