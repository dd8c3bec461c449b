"""Do the intervals hold the truth as often as they say? By enumeration where the data are counts, else by simulation.

  exact (Clopper-Pearson)   at least 95 % at every rate
  Wilson                    93 to 97 % averaged over a grid of rates
  BCa over units            93 to 97 % where at least 10 units that are not zero are expected; printed elsewhere, with
                            what a handful of units is good for
  confidence sequence       at least 95 % at all of 1,200 units together; so a gate that looks at every one of them
                            is wrong at most 5 % of the time at the bound itself

Monte Carlo errors (one standard deviation) stand beside each simulated figure. Each kind of check is also shown to
fail for an interval that does not deserve it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from llm_repair.core.metrics import Direction, Estimate, Missing
from llm_repair.core.statistics import (
    Answer,
    LookPlan,
    SequentialTest,
    clopper_pearson,
    log_capital,
    mean,
    paired_mean_difference,
    paired_proportion_difference,
    ratio_of_sums,
    wilson,
)
from llm_repair.core.statistics.bca import acceleration, bca_ends, median_bias

UNIT = (0.0, 1.0)
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def estimate(value: Estimate | Missing) -> Estimate:
    assert isinstance(value, Estimate)
    return value


# Rates: the coverage at a rate is a finite sum over the counts, without Monte Carlo error.

RATES = np.concatenate([np.geomspace(1e-5, 0.01, 60), np.linspace(0.01, 0.5, 246)])
"""Near 0 on a logarithmic grid; above 1/2 all is mirrored."""


def covered(intervals: Sequence[Estimate], n: int, rates: np.ndarray) -> np.ndarray:
    """Returns P(low <= rate <= high) for a binomial count of n, by rate."""
    low, high = (np.array([getattr(each, end) for each in intervals]) for end in ("low", "high"))
    inside = (low <= rates[:, None]) & (rates[:, None] <= high)
    return np.sum(stats.binom.pmf(np.arange(n + 1), n, rates[:, None]) * inside, axis=1)


@pytest.mark.parametrize("n", [10, 50, 191, 600])
def test_exact_intervals_cover_every_rate(n: int) -> None:
    coverage = covered([estimate(clopper_pearson(k, n)) for k in range(n + 1)], n, RATES)

    assert coverage.min() >= 0.95


@pytest.mark.parametrize("n", [50, 191, 1199])
def test_wilson_intervals_cover_the_average_rate_at_their_level(n: int) -> None:
    coverage = covered([estimate(wilson(k, n)) for k in range(n + 1)], n, np.linspace(0.001, 0.5, 500))

    print(f"Wilson, n = {n}: mean {coverage.mean():.4f}, lowest {coverage.min():.4f}")
    assert 0.93 <= coverage.mean() <= 0.97


def test_the_normal_interval_of_the_textbook_fails_the_same_check() -> None:
    n = 50
    halves = [1.96 * math.sqrt(k / n * (1 - k / n) / n) for k in range(n + 1)]
    wald = [Estimate(k / n, k / n - half, k / n + half, n) for k, half in enumerate(halves)]

    assert covered(wald, n, RATES).min() < 0.01
    assert covered(wald, n, np.linspace(0.001, 0.5, 500)).mean() < 0.93


@pytest.mark.parametrize("n", [100, 191])
def test_bootstrapped_rates_cover_the_average_rate_at_their_level(n: int) -> None:
    """Zeros and ones are the hardest case for a bootstrap of means; rates from 10 expected events on."""
    rng = np.random.default_rng(0)
    found = [estimate(mean((np.arange(n) < k) * 1.0, rng, support=UNIT, replicates=2000)) for k in range(n // 2 + 1)]
    mirrored = [Estimate(1 - each.value, 1 - each.high, 1 - each.low, n) for each in found[::-1]][n % 2 == 0 :]

    often = covered([*found, *mirrored], n, np.linspace(10 / n, 0.5, 200))
    seldom = covered([*found, *mirrored], n, np.array([0.5, 2, 5]) / n)

    print(f"BCa of events, n = {n}: mean {often.mean():.4f}; at 0.5, 2 and 5 expected {seldom.round(4)}")
    assert 0.93 <= often.mean() <= 0.97
    assert seldom.min() >= 0.93


def test_paired_proportions_cover_the_truth_at_their_level() -> None:
    """All tables of 40 pairs, for pairs that agree, weakly or strongly, at rates from 3 to 40 %."""
    n = 40
    tables = [(a, b, c, n - a - b - c) for a in range(n + 1) for b in range(n + 1 - a) for c in range(n + 1 - a - b)]
    counts = np.array(tables)
    cells = [(0.01, 0.05, 0.02, 0.92), (0.1, 0.1, 0.02, 0.78), (0.3, 0.1, 0.1, 0.5), (0.02, 0.2, 0.1, 0.68)]
    likely = np.zeros(len(tables), dtype=bool)
    chances = np.stack([stats.multinomial.pmf(counts, n, cell) for cell in cells])
    likely = chances.max(axis=0) > 1e-5

    truths = np.array([cell[2] - cell[1] for cell in cells])
    inside = np.zeros_like(chances)
    for place in np.flatnonzero(likely):
        both, base, repaired, neither = tables[place]
        before = np.repeat([True, True, False, False], (both, base, repaired, neither))
        after = np.repeat([True, False, True, False], (both, base, repaired, neither))
        found = estimate(paired_proportion_difference(before, after))
        inside[:, place] = (found.low <= truths) & (truths <= found.high)
    coverage = np.sum(chances * inside, axis=1) + np.sum(chances[:, ~likely], axis=1)

    print(f"Newcombe, 40 pairs: {coverage.round(4)}")
    assert coverage.min() >= 0.93


# Means: simulated with the function itself.


def zeros_and(shape: tuple[float, float], share: float, sign: bool = False) -> tuple[Draw, float]:
    """Returns how to draw zeros with a share of Beta values, of either sign if asked for, and their mean."""

    def draw(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        values = np.where(rng.random(size) < share, rng.beta(*shape, size=size), 0.0)
        return np.where(rng.random(size) < 0.3, -values, values) if sign else values

    return draw, share * shape[0] / sum(shape) * (0.4 if sign else 1.0)


def coverage_of_means(draw: Draw, truth: float, n: int, samples: int, *, signed: bool = False) -> float:
    rng = np.random.default_rng(17)
    hits = 0
    for _ in range(samples):
        values = draw(rng, (n,))
        if signed:
            found = paired_mean_difference(np.zeros(n), values, rng, support=UNIT, replicates=500)
        else:
            found = mean(values, rng, support=UNIT, replicates=500)
        hits += isinstance(found, Estimate) and found.low <= truth <= found.high
    return hits / samples


MEANS = {
    "moderate scores in a tenth of 120 prompts": (zeros_and((2, 2), 0.1), 120, False),
    "skewed scores in a fifth of 80 prompts": (zeros_and((0.5, 1.5), 0.2), 80, False),
    "low scores in a third of 60 prompts": (zeros_and((1, 9), 1 / 3), 60, False),
    "skewed scores in all of 60 prompts": (zeros_and((0.4, 1.6), 1.0), 60, False),
    "changes either way in a tenth of 120 prompts": (zeros_and((2, 3), 0.1, sign=True), 120, True),
    "heavy-tailed changes in all of 60 prompts": (
        (lambda rng, size: (rng.standard_t(4, size) / 9).clip(-1, 1), 0.0),
        60,
        True,
    ),
}


@pytest.mark.parametrize("name", MEANS)
def test_bootstrapped_means_cover_the_truth_at_their_level(name: str) -> None:
    """2,000 samples: ± 0.5 points."""
    (draw, truth), n, signed = MEANS[name]

    coverage = coverage_of_means(draw, truth, n, 2000, signed=signed)

    print(f"BCa, {name}: {coverage:.4f}")
    assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("expected", [1, 3, 6])
def test_bootstrapped_means_of_few_units_err_towards_too_wide(expected: int) -> None:
    """300 samples, ± 1.3 points: below 10 expected the exact bound on what was not seen takes over."""
    draw, truth = zeros_and((0.5, 1.5), expected / 60)

    coverage = coverage_of_means(draw, truth, 60, 300)

    print(f"BCa, {expected} skewed scores expected in 60 prompts: {coverage:.3f}")
    assert coverage >= 0.93


@pytest.mark.parametrize("n", [3, 4, 6, 9])
def test_a_handful_of_units_is_not_taken_for_a_distribution(n: int) -> None:
    """1,000 samples, ± 0.7 points; by resamples alone three units give 73 to 75 %, see below."""
    even = coverage_of_means(lambda rng, size: rng.beta(2, 2, size), 0.5, n, 1000)
    skewed = coverage_of_means(lambda rng, size: rng.beta(0.4, 1.6, size), 0.2, n, 1000)

    print(f"BCa, {n} prompts: moderate scores {even:.3f}, skewed scores {skewed:.3f}")
    assert even >= 0.92
    assert skewed >= 0.83


def test_resamples_of_three_units_fail_the_same_check() -> None:
    """No resampled mean lies beyond the largest unit, which all three are above the truth in one of eight samples."""
    rng = np.random.default_rng(17)
    hits = 0
    for _ in range(1000):
        values = rng.beta(2, 2, 3)
        means = values[rng.integers(0, 3, size=(500, 3))].mean(axis=1)
        hits += means.min() <= 0.5 <= means.max()

    assert hits / 1000 < 0.8


def test_a_bootstrapped_perplexity_covers_the_truth_at_its_level() -> None:
    """60 documents of very unequal length; 2,000 samples: ± 0.5 points. The truth is the ratio of expectations."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(2000):
        tokens = np.ceil(rng.gamma(2.0, 150.0, size=60))
        found = estimate(ratio_of_sums(tokens * rng.normal(3.0, 0.3, size=60), tokens, rng, replicates=500))
        hits += found.low <= 3.0 <= found.high

    print(f"BCa, perplexity of 60 documents: {hits / 2000:.4f}")
    assert 0.93 <= hits / 2000 <= 0.97


def test_a_plain_percentile_bootstrap_fails_the_same_check() -> None:
    """Twelve skewed scores expected in 120 prompts: percentiles of the resampled means are too narrow above."""
    draw, truth = zeros_and((0.5, 1.5), 0.1)
    rng = np.random.default_rng(17)
    hits = 0
    for _ in range(1000):
        values = draw(rng, (120,))
        means = values[rng.integers(0, 120, size=(400, 120))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        hits += low <= truth <= high

    assert hits / 1000 < 0.93


def test_bca_without_its_repairs_fails_the_same_check() -> None:
    """The changes either way of above, 1,500 samples: ± 0.8 points; the textbook's interval, t with n - 1 included."""
    draw, truth = zeros_and((2, 3), 0.1, sign=True)
    rng = np.random.default_rng(17)
    tail = stats.norm.cdf(-math.sqrt(120 / 119) * stats.t.isf(0.025, 119))
    hits = 0
    for _ in range(1500):
        values = draw(rng, (120,))
        means = values[rng.integers(0, 120, size=(500, 120))].mean(axis=1)
        bias, skew = median_bias(values.mean(), means), acceleration([values - values.mean()])
        low, high = bca_ends(means, bias, skew, tail)
        hits += low <= truth <= high

    assert hits / 1500 < 0.93


# Sequences: simulated with the capital, of which their ends are roots, at every single unit up to the cap.

CAP = 1200
RUIN = math.log(2 / 0.05)
STREAMS: dict[str, tuple[Draw, float]] = {
    "events of rate 0.003": (lambda rng, size: (rng.random(size) < 0.003) * 1.0, 0.003),
    "events of rate 0.05": (lambda rng, size: (rng.random(size) < 0.05) * 1.0, 0.05),
    "fair coins": (lambda rng, size: (rng.random(size) < 0.5) * 1.0, 0.5),
    "skewed scores": (lambda rng, size: rng.beta(0.4, 1.6, size=size), 0.2),
    "small changes": (lambda rng, size: rng.normal(0.5, 0.02, size=size).clip(0, 1), 0.5),
    "mostly no change": zeros_and((2, 2), 0.1),
}


def rejections(draw: Draw, truth: float, streams: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether the true mean was rejected from below and from above by each unit, each (streams, CAP)."""
    rng = np.random.default_rng(23)
    below, above = [], []
    for _ in range(streams // 500):  # in parts that fit the cache
        values = draw(rng, (500, CAP))
        below.append(log_capital(values, truth) >= RUIN)
        above.append(log_capital(1 - values, 1 - truth) >= RUIN)
    return np.concatenate(below), np.concatenate(above)


@pytest.mark.parametrize("name", STREAMS)
def test_sequences_hold_the_truth_at_all_units_together(name: str) -> None:
    """2,000 streams, ± 0.5 points at 5 %: who peeks at every unit and stops at the first alarm is wrong that often.

    Each side by itself must stay within 2.5 % (± 0.35), for that is the false pass, or the false fail, of a gate
    whose true difference is exactly at its bound.
    """
    draw, truth = STREAMS[name]

    below, above = (side.any(axis=1) for side in rejections(draw, truth, 2000))

    either = (below | above).mean()
    print(f"sequence, {name}: alarms {either:.4f} (from below {below.mean():.4f}, from above {above.mean():.4f})")
    assert either <= 0.05
    assert max(below.mean(), above.mean()) <= 0.025


def test_the_gate_answers_at_a_look_just_where_the_capital_has_grown_enough() -> None:
    """Ties the simulation to what the gate says: 60 streams whose mean is on the bound or beside it."""
    rng = np.random.default_rng(2)
    plan = LookPlan(50, 50, 400)
    test = SequentialTest(0.0, Direction.LOWER_IS_BETTER, bound_is_good=False, support=(-1.0, 1.0), plan=plan)
    answers = []
    for shift in np.tile([-0.08, 0.0, 0.08], 20):
        units = np.clip(rng.normal(shift, 0.3, size=400), -1, 1)
        looks = np.array(plan.looks(400)) - 1
        scaled = (units + 1) / 2
        bad, good = log_capital(scaled, 0.5)[looks] >= RUIN, log_capital(1 - scaled, 0.5)[looks] >= RUIN

        state = test.state(units)

        expected = Answer.OPEN
        if (good | bad).any():
            expected = Answer.GOOD if good[np.argmax(good | bad)] else Answer.BAD
        assert state.answer is expected
        answers.append(expected)
    assert {Answer.GOOD, Answer.BAD, Answer.OPEN} == set(answers)


def test_a_gate_on_its_bound_seldom_answers_however_often_it_looks() -> None:
    """True difference 0 against the bound 0, looks at 100, 150, ..., 1,200 and at every unit; 2,000 streams."""
    draw, truth = STREAMS["mostly no change"]
    below, above = rejections(draw, truth, 2000)
    looks = np.array(LookPlan().looks(CAP)) - 1

    at_looks = (below[:, looks] | above[:, looks]).any(axis=1).mean()
    from_the_first_look_on = (below[:, 99:] | above[:, 99:]).any(axis=1).mean()

    print(f"false alarms of the gate: {at_looks:.4f} at its looks, {from_the_first_look_on:.4f} at every unit")
    assert at_looks <= from_the_first_look_on <= 0.05


def test_an_ordinary_test_that_peeks_alarms_far_above_its_level() -> None:
    """The same looks with z = 1.96 at each of 23: about 20 % instead of 5; with one look at the end it keeps its level.

    2,000 streams of normal differences with mean 0.
    """
    streams = np.random.default_rng(23).normal(size=(2000, CAP))
    looks = np.array(LookPlan().looks(CAP))
    sums, squares = np.cumsum(streams, axis=1)[:, looks - 1], np.cumsum(streams**2, axis=1)[:, looks - 1]
    z = np.abs(sums) / np.sqrt(squares - sums**2 / looks)

    alarms = (z > 1.96).mean(axis=0)[-1], (z > 1.96).any(axis=1).mean()

    assert alarms[0] == pytest.approx(0.05, abs=0.015)
    assert alarms[1] > 0.15
