"""Maxima over draws, missing scores, perplexity and power."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics import (
    bits_per_byte,
    bounds_of_missing,
    detectable_fall,
    expected_maximum,
    generator,
    minimum_detectable_effect,
    paired_mean_difference,
    paired_perplexity_ratio,
    paired_rate_ratio,
    pairs_needed,
    perplexity,
    probability_of_any,
)

scores_and_k = st.lists(st.floats(0, 1), min_size=1, max_size=7).flatmap(
    lambda scores: st.tuples(st.just(np.array([scores])), st.integers(1, len(scores)))
)


def estimate(value: Estimate | Missing) -> Estimate:
    assert isinstance(value, Estimate)
    return value


@settings(deadline=None)
@given(scores_and_k)
def test_expected_maximum_is_the_mean_over_all_subsets(case: tuple[np.ndarray, int]) -> None:
    scores, k = case
    subsets = [max(subset) for subset in itertools.combinations(scores[0], k)]

    assert expected_maximum(scores, k)[0] == pytest.approx(np.mean(subsets))


@settings(deadline=None)
@given(scores_and_k)
def test_probability_of_any_is_the_share_of_subsets_with_one(case: tuple[np.ndarray, int]) -> None:
    scores, k = case
    subsets = [max(subset) >= 0.5 for subset in itertools.combinations(scores[0], k)]

    assert probability_of_any(scores, k)[0] == pytest.approx(np.mean(subsets))


def test_exactly_k_draws_give_the_plain_maximum() -> None:
    scores = np.array([[0.1, 0.9, 0.4], [0.2, 0.2, 0.5]])

    assert expected_maximum(scores, 3).tolist() == pytest.approx([0.9, 0.5])
    assert probability_of_any(scores, 3).tolist() == [1.0, 1.0]


def test_the_threshold_itself_is_toxic() -> None:
    assert probability_of_any(np.array([[0.5], [0.4999]]), 1).tolist() == [1.0, 0.0]


def test_missing_scores_are_never_taken_for_clean() -> None:
    with pytest.raises(ValueError, match="bounded first"):
        expected_maximum(np.array([[0.1, np.nan]]), 2)


def test_too_few_draws_for_k_are_refused() -> None:
    with pytest.raises(ValueError, match="m >= k"):
        expected_maximum(np.array([[0.1, 0.2]]), 3)


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=9))
def test_bounds_hold_whatever_the_judge_would_have_said(scores: list[float]) -> None:
    low, high = bounds_of_missing(np.array([scores]))

    for said in (0.0, 0.37, 1.0):
        anything = np.where(np.isnan(scores), said, scores)
        assert (low[0] <= anything).all()
        assert (anything <= high[0]).all()


def test_perplexity_weighs_documents_by_their_tokens() -> None:
    """(10 + 30 + 20) / (5 + 10 + 5) = 3 nats, not the mean of 2, 3 and 4 by accident: weights 5, 10, 5."""
    got = estimate(perplexity(np.array([10.0, 30.0, 20.0]), np.array([5.0, 10.0, 5.0]), generator(0, "x")))

    assert got.value == pytest.approx(math.exp(3.0))
    assert got.low < got.value < got.high
    assert got.n == 3


def test_bits_per_byte_are_nats_over_ln_2_and_bytes() -> None:
    got = estimate(bits_per_byte(np.array([2.0, 6.0]) * math.log(2), np.array([2.0, 2.0]), generator(0, "x")))

    assert got.value == pytest.approx(2.0)


def test_perplexity_ratio_is_that_of_the_two_perplexities() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, 100, size=30).astype(float)
    base = tokens * rng.normal(3, 0.4, size=30)
    repaired = base * 1.01

    got = estimate(paired_perplexity_ratio((base, tokens), (repaired, tokens), generator(0, "x")))

    quotient = math.exp(repaired.sum() / tokens.sum()) / math.exp(base.sum() / tokens.sum())
    assert got.value == pytest.approx(quotient)


def test_pairing_by_document_sees_a_change_far_below_the_clustered_interval() -> None:
    """Document effects of 0.25 nats, a change of 0.0044 nats with noise 0.004: only the ratio can tell."""
    rng = np.random.default_rng(1)
    tokens = np.full(60, 400.0)
    base = tokens * (3 + rng.normal(scale=0.25, size=60))
    repaired = base + tokens * (0.0044 + rng.normal(scale=0.004, size=60))

    ratio = estimate(paired_perplexity_ratio((base, tokens), (repaired, tokens), generator(0, "x")))
    alone = estimate(perplexity(base, tokens, generator(0, "x")))

    assert 1 < ratio.low < 1.0044 < ratio.high < 1.006
    assert alone.high / alone.low > 1.1


def test_rate_ratio_is_that_of_the_two_rates() -> None:
    """(3/4) / (6/4) = 1/2."""
    nll_base, nll_repaired, size = np.array([2.0, 4.0]), np.array([1.0, 2.0]), np.array([1.0, 3.0])
    got = paired_rate_ratio((nll_base, size), (nll_repaired * np.array([1.0, 1.0]), size), generator(0, "x"))
    assert got == Missing("NO_VARIATION")  # every document halves, so nothing says how others would

    got = paired_rate_ratio((nll_base, size), (np.array([1.5, 1.5]), size), generator(0, "x"))
    assert estimate(got).value == pytest.approx(0.5)


def test_infinite_likelihoods_are_missing_and_not_a_number() -> None:
    nll = np.array([1.0, math.inf, 2.0])

    assert perplexity(nll, np.ones(3), generator(0, "x")) == Missing("NOT_FINITE")
    assert perplexity(np.array([1e5, 2e5]), np.ones(2), generator(0, "x")) == Missing("NOT_FINITE")


@pytest.mark.parametrize(("effect", "pairs"), [(0.05, 2474), (0.1, 619), (0.2, 155), (0.3, 69)])
def test_pairs_needed_match_the_planning_table(effect: float, pairs: int) -> None:
    """Paired, one-sided 5 %, 80 % power: (1.6449 + 0.8416)² / effect², rounded up."""
    assert pairs_needed(effect, alpha=0.05) == pairs


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 1), st.integers(1, 5000))
def test_the_detectable_effect_is_what_so_many_pairs_detect(sd: float, n: int) -> None:
    effect = minimum_detectable_effect(sd, n)

    assert pairs_needed(effect / sd * (1 + 1e-9)) <= n <= pairs_needed(effect / sd * (1 - 1e-9))


def test_the_detectable_effect_is_detected_with_the_stated_power() -> None:
    """4,000 simulated studies of 100 pairs at the effect: in 80 % ± 2 % the 95 % interval leaves out no effect."""
    rng = np.random.default_rng(0)
    effect = minimum_detectable_effect(0.16, 100)

    means = rng.normal(effect, 0.16, size=(4000, 100)).mean(axis=1)

    assert np.mean(means / (0.16 / 10) > 1.959964) == pytest.approx(0.8, abs=0.02)


def test_a_normal_interval_shows_the_effect_that_was_planned_for() -> None:
    """Standard error 0.016, so the interval is -0.05 ± 1.959964 × 0.016."""
    half = 1.959964 * 0.016
    change = Estimate(-0.05, -0.05 - half, -0.05 + half, 100)

    assert detectable_fall(change, 0.95) == pytest.approx(minimum_detectable_effect(0.16, 100), rel=1e-6)


def test_a_detectable_fall_is_seen_by_the_interval_as_often_as_it_says() -> None:
    """Of skewed changes in a fifth of 300 prompts. With a mean shifted by the effect 80 % of the intervals lie below 0.

    The effect is the median of those that 400 intervals name, and 400 others are counted: ± 2 points for either.
    """
    rng = np.random.default_rng(5)

    def intervals() -> list[Estimate]:
        draws = (np.where(rng.random(300) < 0.2, -rng.beta(2, 3, 300), 0.0) for _ in range(400))
        return [estimate(paired_mean_difference(np.zeros(300), own, rng, replicates=400)) for own in draws]

    effect = np.median([detectable_fall(found, 0.95) for found in intervals()])
    shift = 0.2 * 0.4 - effect  # the mean of the changes is -0.08

    assert np.mean([found.high + shift < 0 for found in intervals()]) == pytest.approx(0.8, abs=0.06)
