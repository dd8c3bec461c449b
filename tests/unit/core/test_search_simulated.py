"""Searches in simulated worlds: how often the truth is found, and that what is claimed is as rarely false as promised.

Seeds are fixed, so each count is one number; what it is held against is a quantile of the binomial distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from simulated_search import CCS, GRAND, K_CENTER, SAPS, World, a_search, played

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.search import (
    FULL,
    RANDOM,
    Arm,
    Measured,
    Search,
    SearchResult,
    Separation,
    Split,
    Winner,
    result,
)
from llm_repair.core.selection import El2nStrategy, SelectionStrategy

EL2N = SelectionStrategy(El2nStrategy())
FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.8)
ERROR = 0.025
"""One-sided, of two-sided intervals at 95 %."""
MARGIN = 0.02


def results(search: Search, toxicity: Callable[[Arm], float], runs: int) -> Iterator[tuple[SearchResult, World]]:
    for seed in range(runs):
        world = World(toxicity, seed)
        yield result(search, played(search, world.outcome)), world


def rarely_more(runs: int, error: float = ERROR) -> int:
    """Returns the count that `runs` trials with that probability exceed once in a thousand times."""
    below = 0.0
    for count in range(runs + 1):
        below += math.comb(runs, count) * error**count * (1 - error) ** (runs - count)
        if below >= 0.999:
            return count
    return runs


def value_of(measured: Measured) -> float:
    assert isinstance(measured.change.toxicity, Estimate)
    return measured.change.toxicity.value


# Finding the best.

GAIN = {
    SAPS: (0.050, 0.097, 0.100, 0.100, 0.100),
    CCS: (0.030, 0.050, 0.075, 0.090, 0.100),
    RANDOM: (0.030, 0.050, 0.070, 0.085, 0.095),
    K_CENTER: (0.020, 0.040, 0.060, 0.080, 0.095),
    GRAND: (0.010, 0.020, 0.040, 0.070, 0.090),
    EL2N: (0.010, 0.020, 0.040, 0.070, 0.090),
}
"""Response curves over FRACTIONS that cross nowhere and all end near 0.1: SAPS has it from a tenth of the pool on."""


def saturating(arm: Arm) -> float:
    return -0.1 if arm == FULL else -GAIN[arm.strategy][FRACTIONS.index(arm.fraction)]


def test_the_cheapest_arm_within_the_margin_of_the_best_is_found_nine_times_in_ten() -> None:
    """30 arms, of which SAPS at 0.1 is the one: 0.08 or more is within 0.02 of the best, and nothing there is cheaper.

    The differences that decide are 0.003 to 0.02, the standard error of one is 0.012 at 200 prompts, 0.007 at 600.
    """
    search = a_search((SAPS, CCS, K_CENTER, GRAND, EL2N))

    found = [r.winner for r, _ in results(search, saturating, 200)]

    best = sum(isinstance(winner, Winner) and winner.arm == Arm(SAPS, 0.1) for winner in found)
    better = sum(isinstance(winner, Winner) and winner.against_random is Separation.BETTER for winner in found)
    assert best >= 170
    assert better >= 180


def test_with_prompts_enough_the_smallest_fraction_is_shown() -> None:
    """At 0.1 SAPS is 0.003 behind FULL, 2.4 standard errors of 0.007 within the margin; at 0.05 it is far beyond."""
    search = a_search((SAPS,), fractions=(0.05, 0.1), finalists=4)

    shown = [r.smallest_by_strategy[SAPS].arm for r, _ in results(search, saturating, 200)]

    # Power of the one test that must pass: P(Z < 2.4 - 1.96) = 0.68.
    assert 0 <= shown.count(Arm(SAPS, 0.05)) <= rarely_more(200)
    assert all(arm in (Arm(SAPS, 0.1), Missing("NOT_SHOWN")) for arm in shown)
    assert 100 <= shown.count(Arm(SAPS, 0.1)) <= 165


# Claims at the boundary.


@pytest.fixture(scope="module")
def at_the_margin() -> list[SearchResult]:
    """500 searches in which every arm is exactly the margin worse than FULL: each claim is false."""
    search = a_search((SAPS, CCS), fractions=(0.1, 0.2, 0.4, 0.8), finalists=8)
    return [r for r, _ in results(search, lambda arm: -0.1 + (arm != FULL) * MARGIN, 500)]


def test_non_inferiority_is_falsely_claimed_as_rarely_as_promised(at_the_margin: list[SearchResult]) -> None:
    false = sum(isinstance(each.smallest.arm, Arm) for each in at_the_margin)

    # Not never, either: the boundary is where the promise is used up.
    assert 1 <= false <= rarely_more(500)


@pytest.mark.parametrize("strategy", [SAPS, CCS, RANDOM])
def test_each_strategy_keeps_the_promise_by_itself(
    at_the_margin: list[SearchResult], strategy: SelectionStrategy
) -> None:
    statements = [each.smallest_by_strategy.get(strategy) for each in at_the_margin]

    assert sum(s is not None and isinstance(s.arm, Arm) for s in statements) <= rarely_more(500)


def test_testing_every_fraction_without_an_order_would_break_the_promise(at_the_margin: list[SearchResult]) -> None:
    """What the fixed sequence is for: a claim for any fraction that passes by itself is false far more often."""

    def passes(each: SearchResult) -> bool:
        outcomes = [arm.outcome for arm in each.arms if arm.outcome.trial.split is Split.REPORT and arm.arm != FULL]
        sides = [outcome.against_full.toxicity for outcome in outcomes if isinstance(outcome, Measured)]
        return any(isinstance(side, Estimate) and side.high <= MARGIN for side in sides)

    assert sum(map(passes, at_the_margin)) > rarely_more(500)


def test_a_true_claim_at_a_large_fraction_opens_no_door_to_false_ones_below() -> None:
    """0.8 of the pool is as good as FULL and nearly always passes, so that 0.4, at the margin, is really tested."""
    search = a_search((SAPS,), fractions=(0.4, 0.8), finalists=4)

    def staircase(arm: Arm) -> float:
        return -0.1 + (arm.fraction < 0.5) * MARGIN

    statements = [r.smallest_by_strategy[SAPS] for r, _ in results(search, staircase, 400)]

    reached = sum(len(statement.tested) == 2 for statement in statements)
    false = sum(statement.arm == Arm(SAPS, 0.4) for statement in statements)
    assert reached >= 300
    assert 1 <= false <= rarely_more(400)


# Chance.


@pytest.fixture(scope="module")
def by_chance() -> list[tuple[SearchResult, World]]:
    """500 searches in which no strategy differs from RANDOM and the winner is luck."""
    search = a_search((SAPS, CCS, K_CENTER), fractions=(0.2, 0.4), finalists=2, toxicity_margin=0.0)
    return list(results(search, lambda arm: -0.05, 500))


def test_beating_random_is_falsely_claimed_as_rarely_as_promised(by_chance: list[tuple[SearchResult, World]]) -> None:
    winners = [each.winner for each, _ in by_chance if isinstance(each.winner, Winner)]
    others = [winner for winner in winners if winner.arm.strategy != RANDOM]

    false = sum(winner.against_random is Separation.BETTER for winner in others)
    assert len(winners) == 500
    assert len(others) > 300
    assert 1 <= false <= rarely_more(len(others))


def test_the_reported_number_of_the_winner_carries_no_luck_of_the_choice(
    by_chance: list[tuple[SearchResult, World]],
) -> None:
    """Truth is -0.05 for all. On the prompts it was chosen on the winner looks better; on the others it does not."""
    lucky, reported = [], []
    for each, world in by_chance:
        assert isinstance(each.winner, Winner)
        before = next(arm for arm in each.arms if arm.arm == each.winner.arm).outcome.trial.round - 1
        chosen_on = world.outcome(type(each.winner.measured.trial)(each.winner.arm, before, Split.SELECTION, 600))
        lucky.append(value_of(chosen_on) + 0.05)
        reported.append(value_of(each.winner.measured) + 0.05)

    standard_error = float(np.std(reported)) / math.sqrt(len(reported))
    assert abs(np.mean(reported)) < 3.3 * standard_error
    assert np.mean(lucky) < -10 * standard_error
