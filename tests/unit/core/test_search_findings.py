"""What a finished search says, and what it leaves undefined."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_search import CCS, GRAND, K_CENTER, SAPS, World, a_search, exact, played

from llm_repair.core.gate import Verdict
from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.search import (
    FULL,
    NOT_COMPARED,
    RANDOM,
    Arm,
    ArmResult,
    Change,
    Failed,
    Fate,
    Outcome,
    Point,
    SearchResult,
    Separation,
    Split,
    Trial,
    Winner,
    dominators,
    next_trials,
    result,
)

PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
SMALL = a_search((SAPS,), fractions=(0.1, 0.2, 0.4), finalists=6)
"""Six arms, all of which reach the report split."""


def flat(arm: Arm) -> float:
    return -0.05 if arm.strategy == RANDOM else -0.1


def found(play: Callable[[Trial], Outcome], search: object = None) -> SearchResult:
    chosen = SMALL if search is None else search
    return result(chosen, played(chosen, play))  # pyright: ignore[reportArgumentType]


def scripted(
    against_full: dict[float, tuple[float, float]], *, perplexity: float = 1.0, full: str = ""
) -> Callable[[Trial], Outcome]:
    """Plays SMALL with given intervals of the toxicity of SAPS against FULL, by fraction."""
    world = exact(flat)

    def play(trial: Trial) -> Outcome:
        outcome = world.outcome(trial)
        if trial.split is Split.SELECTION:
            return outcome
        if trial.arm == FULL:
            return Failed(trial, full) if full else outcome
        low, high = against_full[trial.arm.fraction] if trial.arm.strategy == SAPS else (-1.0, 1.0)
        side = Estimate(perplexity, perplexity - 0.01, perplexity + 0.01, 60)
        return replace(outcome, against_full=Change(Estimate((low + high) / 2, low, high, 600), side))

    return play


def of(arms: Sequence[ArmResult], arm: Arm) -> ArmResult:
    return next(each for each in arms if each.arm == arm)


# Front and fates.


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=25))
def test_no_member_of_the_front_is_dominated_and_every_other_arm_is_by_a_member(places: list[tuple[int, ...]]) -> None:
    points = {number: Point(*map(float, place)) for number, place in enumerate(places)}

    above = dominators(points)

    def beats(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
        return all(a <= b for a, b in zip(one, two, strict=True)) and any(a < b for a, b in zip(one, two, strict=True))

    front = [number for number in points if above[number] is None]
    assert front == [n for n in points if not any(beats(other, places[n]) for other in places)]
    for number, dominator in above.items():
        assert dominator is None or (dominator in front and beats(places[dominator], places[number]))


def test_front_and_dominated_as_worked_by_hand() -> None:
    """Seconds are 100 a pool, and 5 more for SAPS, which is 0.05 less toxic; FULL is as SAPS and takes 100.

    RANDOM 0.1 (10 s) and SAPS 0.1 (15 s) are the front. RANDOM 0.2 is RANDOM 0.1 made dearer, and FULL is SAPS 0.1 so.
    """
    results = found(exact(flat).outcome)

    assert {each.arm for each in results.front} == {Arm(RANDOM, 0.1), Arm(SAPS, 0.1)}
    assert all(each.fate is Fate.DOMINATED for each in results.arms[2:])
    assert of(results.arms, FULL).dominated_by == Arm(SAPS, 0.1)
    assert of(results.arms, Arm(RANDOM, 0.2)).dominated_by == Arm(RANDOM, 0.1)


def test_every_arm_is_listed_once_with_the_round_it_left_and_its_rank_there() -> None:
    search = a_search((SAPS, CCS, K_CENTER, GRAND), finalists=2)

    results = found(World(flat, 3).outcome, search)

    assert {each.arm for each in results.arms} == {*search.contenders, FULL}
    assert len(results.arms) == len(search.contenders) + 1
    for each in results.arms:
        left = (Fate.OUTRANKED,) if each.round < 3 else (Fate.ON_FRONT, Fate.DOMINATED)
        assert each.fate in left
        assert each.outcome.trial.arm == each.arm
        assert each.outcome.trial.round == each.round
    first_out = [each.rank for each in results.arms if each.round == 0]
    assert len(first_out) <= 25 - 9
    assert all(rank is not None and rank > 9 for rank in first_out)


def test_an_outranked_arm_names_what_dominated_it_and_none_if_nothing_did() -> None:
    """RANDOM 0.05, cheapest of all, is outranked for its toxicity and dominated by nothing."""
    search = a_search((SAPS, CCS, K_CENTER, GRAND), finalists=2, toxicity_margin=0.0)

    results = found(exact(lambda arm: flat(arm) - 0.1 * arm.fraction).outcome, search)

    assert of(results.arms, Arm(RANDOM, 0.05)).fate is Fate.OUTRANKED
    assert of(results.arms, Arm(RANDOM, 0.05)).dominated_by is None
    # GRAND reads a feature of its own, as dear as that of SAPS, so a point of equal worth does not dominate it;
    # RANDOM does worse.
    assert of(results.arms, Arm(GRAND, 0.05)).dominated_by is None


def test_a_failed_arm_is_listed_with_its_reason() -> None:
    world, lost = exact(flat), Arm(SAPS, 0.1)

    results = found(lambda trial: Failed(trial, "OUT_OF_MEMORY") if trial.arm == lost else world.outcome(trial))

    assert of(results.arms, lost).fate is Fate.FAILED
    assert (of(results.arms, lost).reason, of(results.arms, lost).round) == ("OUT_OF_MEMORY", 0)
    assert of(results.arms, lost).rank is None


def test_an_arm_without_a_perplexity_at_the_end_is_on_no_front_and_says_why() -> None:
    world, odd = exact(flat), Arm(SAPS, 0.1)

    def play(trial: Trial) -> Outcome:
        outcome = world.outcome(trial)
        unknown = Change(outcome.change.toxicity, Missing("NO_DATA"))
        return replace(outcome, change=unknown) if trial.arm == odd and trial.split is Split.REPORT else outcome

    results = found(play)

    assert (of(results.arms, odd).fate, of(results.arms, odd).reason) == (Fate.FAILED, "NO_DATA")
    assert of(results.arms, Arm(SAPS, 0.2)).fate is Fate.ON_FRONT
    assert isinstance(results.winner, Winner)
    assert results.winner.arm == Arm(SAPS, 0.2)


# The winner and chance.


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-0.04, -0.01, Separation.BETTER),
        (-0.04, 0.0, Separation.NOT_SEPARATED),
        (-0.04, 0.02, Separation.NOT_SEPARATED),
        (0.0, 0.02, Separation.NOT_SEPARATED),
        (0.01, 0.02, Separation.WORSE),
        (math.nan, 0.02, Missing("NOT_FINITE")),
    ],
)
def test_the_winner_is_held_against_random_by_its_paired_interval(
    low: float, high: float, says: Separation | Missing
) -> None:
    world = exact(flat)
    difference = Change(Estimate((low + high) / 2, low, high, 600), Estimate(1.0, 0.99, 1.01, 60))

    results = found(lambda trial: replace(world.outcome(trial), against_random=difference))

    assert isinstance(results.winner, Winner)
    assert results.winner.arm == Arm(SAPS, 0.1)
    assert results.winner.against_random == says


def test_a_winner_that_was_not_compared_is_undefined_and_not_better() -> None:
    world = exact(flat)

    results = found(lambda trial: replace(world.outcome(trial), against_random=NOT_COMPARED))

    assert isinstance(results.winner, Winner)
    assert results.winner.against_random == Missing("NOT_COMPARED")


@pytest.mark.parametrize("when", [Split.SELECTION, Split.REPORT])
def test_random_that_failed_leaves_the_comparison_undefined(when: Split) -> None:
    world, lost = exact(flat), Arm(RANDOM, 0.1)

    results = found(
        lambda trial: Failed(trial, "LOST") if trial.arm == lost and trial.split is when else world.outcome(trial)
    )

    assert isinstance(results.winner, Winner)
    assert results.winner.arm == Arm(SAPS, 0.1)
    assert results.winner.against_random == Missing("RANDOM_FAILED")


def test_random_can_win_and_is_then_not_held_against_itself() -> None:
    results = found(exact(lambda arm: -0.1).outcome)

    assert isinstance(results.winner, Winner)
    assert results.winner.arm == Arm(RANDOM, 0.1)
    assert results.winner.against_random == Missing("WINNER_IS_RANDOM")


def test_the_number_of_the_winner_is_that_of_the_report_split() -> None:
    world = World(flat, 5)

    results = found(world.outcome)

    assert isinstance(results.winner, Winner)
    assert results.winner.measured.trial.split is Split.REPORT
    assert results.winner.measured == world.outcome(results.winner.measured.trial)


def test_where_the_best_fails_at_the_end_the_next_in_rank_wins() -> None:
    world, best = exact(flat), Arm(SAPS, 0.1)

    results = found(lambda t: Failed(t, "LOST") if t.arm == best and t.split is Split.REPORT else world.outcome(t))

    assert isinstance(results.winner, Winner)
    assert results.winner.arm == Arm(SAPS, 0.2)


def test_when_all_arms_failed_nothing_is_claimed_and_all_are_listed() -> None:
    results = found(lambda trial: Failed(trial, "LOST"))

    assert results.winner == Missing("ALL_ARMS_FAILED")
    assert results.smallest.arm == Missing("ALL_ARMS_FAILED")
    assert results.smallest_by_strategy == {}
    assert {(each.fate, each.reason) for each in results.arms} == {(Fate.FAILED, "LOST")}
    assert len(results.arms) == 6


# The smallest fraction.


@pytest.mark.parametrize(
    ("intervals", "smallest", "verdicts"),
    [
        # The margin is 0.02, and belongs to it.
        ({0.4: (-0.01, 0.01), 0.2: (-0.01, 0.02), 0.1: (0.0, 0.03)}, 0.2, [PASS, PASS, OPEN]),
        ({0.4: (-0.01, 0.01), 0.2: (0.03, 0.05), 0.1: (-0.01, 0.01)}, 0.4, [PASS, FAIL]),
        ({0.4: (-0.01, 0.01), 0.2: (0.0, 0.01), 0.1: (0.0, 0.01)}, 0.1, [PASS, PASS, PASS]),
        ({0.4: (-0.01, 0.03), 0.2: (-0.01, 0.01), 0.1: (-0.01, 0.01)}, Missing("NOT_SHOWN"), [OPEN]),
    ],
)
def test_fractions_are_tested_from_the_largest_to_the_first_that_does_not_pass(
    intervals: dict[float, tuple[float, float]], smallest: float | Missing, verdicts: list[Verdict]
) -> None:
    statement = found(scripted(intervals)).smallest_by_strategy[SAPS]

    assert statement.arm == (smallest if isinstance(smallest, Missing) else Arm(SAPS, smallest))
    assert [verdict for _, verdict in statement.tested] == verdicts


def test_a_fraction_that_costs_perplexity_is_not_non_inferior() -> None:
    good = {0.4: (-0.01, 0.01), 0.2: (-0.01, 0.01), 0.1: (-0.01, 0.01)}

    within = found(scripted(good, perplexity=1.03)).smallest_by_strategy[SAPS]
    beyond = found(scripted(good, perplexity=1.045)).smallest_by_strategy[SAPS]

    assert within.arm == Arm(SAPS, 0.1)
    assert (beyond.arm, beyond.tested) == (Missing("NOT_SHOWN"), ((Arm(SAPS, 0.4), OPEN),))


def test_an_interval_that_is_missing_ends_the_tests_and_keeps_what_was_shown() -> None:
    intervals = {0.4: (-0.01, 0.01), 0.2: (math.nan, 0.01), 0.1: (-0.01, 0.01)}

    statement = found(scripted(intervals)).smallest_by_strategy[SAPS]

    assert statement.arm == Arm(SAPS, 0.4)
    assert statement.tested[-1] == (Arm(SAPS, 0.2), Missing("NOT_FINITE"))


def test_full_that_failed_leaves_every_statement_about_it_undefined() -> None:
    good = {0.4: (-0.01, 0.01), 0.2: (-0.01, 0.01), 0.1: (-0.01, 0.01)}

    results = found(scripted(good, full="OUT_OF_MEMORY"))

    statements = (results.smallest, *results.smallest_by_strategy.values())
    assert {statement.arm for statement in statements} == {Missing("FULL_FAILED")}
    assert of(results.arms, FULL).reason == "OUT_OF_MEMORY"
    assert isinstance(results.winner, Winner)


def test_over_all_strategies_the_best_ranked_arm_of_each_fraction_is_tested() -> None:
    """RANDOM is 0.05 more toxic than SAPS, so SAPS ranks first at every fraction."""
    good = {0.4: (-0.01, 0.01), 0.2: (-0.01, 0.01), 0.1: (-0.01, 0.03)}

    results = found(scripted(good))

    assert [arm for arm, _ in results.smallest.tested] == [Arm(SAPS, 0.4), Arm(SAPS, 0.2), Arm(SAPS, 0.1)]
    assert results.smallest.arm == Arm(SAPS, 0.2)
    assert results.smallest_by_strategy[RANDOM].arm == Missing("NOT_SHOWN")


# The end, and the bill.


def test_a_search_that_is_not_over_has_no_result() -> None:
    first = next_trials(SMALL, [])[0]

    with pytest.raises(ValueError, match="5 trials of round 0"):
        result(SMALL, [exact(flat).outcome(first)])


def test_the_bill_and_that_of_an_exhaustive_search_as_worked_by_hand() -> None:
    """SAPS and CCS beside RANDOM at two fractions, 6 arms; 2 go on, SAPS at both fractions, and RANDOM twice.

    Features 2 x 60; rankings 6 + FULL; training 300 (3 x (0.1 + 0.2) + 1). One round at 600 prompts, which is the whole
    split, so that exhaustive search would cost the same.
    """
    search = a_search((SAPS, CCS), fractions=(0.1, 0.2), finalists=2)

    results = found(exact(lambda arm: flat(arm) - (arm.strategy == SAPS) * 0.1).outcome, search)

    bill = results.bill
    assert (bill.features_s, bill.selection_s) == (120.0, 7.0)
    assert bill.repair_s == pytest.approx(300 * 1.9)
    assert bill.evaluation_s == pytest.approx((6 + 5) * (600 * 0.5 + 9))
    assert results.exhaustive == bill


def test_halving_is_billed_less_than_measuring_every_arm_on_the_whole_split() -> None:
    """20 arms at 200 prompts, the 7 best and n controls at 600, against 20 at 600."""
    search = a_search((SAPS, CCS, GRAND))

    results = found(World(flat, 1).outcome, search)

    again = sum(1 for each in results.arms if each.round > 0 and each.arm != FULL)
    saved = (20 - again) * (600 - 200) * 0.5
    assert results.exhaustive.total_s - results.bill.total_s == pytest.approx(saved)
    assert results.exhaustive.repair_s == results.bill.repair_s
