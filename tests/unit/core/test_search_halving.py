"""Which trials come next: halving, controls, failures, and the same again after a crash."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_search import CCS, GRAND, K_CENTER, SAPS, World, a_search, exact, played, rounds_of

from llm_repair.core.errors import InvalidFields
from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.search import (
    FULL,
    RANDOM,
    Arm,
    Change,
    Failed,
    Measured,
    Outcome,
    Point,
    Search,
    Split,
    Trial,
    most_trials,
    next_trials,
    ranking,
    result,
)
from llm_repair.core.selection import (
    AutoSearch,
    FullStrategy,
    LearnabilityStrategy,
    RandomStrategy,
    SelectionPreset,
    SelectionStrategy,
)

FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.8)
FOUR = (SAPS, CCS, K_CENTER, GRAND)


def more_is_better(arm: Arm) -> float:
    """SAPS gains most, RANDOM least, all with the fraction."""
    order = (RANDOM, GRAND, K_CENTER, CCS, SAPS, FULL.strategy)
    return -0.02 * order.index(arm.strategy) - 0.01 * arm.fraction


def arms_of(outcomes: tuple[Outcome, ...]) -> list[Arm]:
    return [outcome.trial.arm for outcome in outcomes]


def failing(world: World, fails: Callable[[Trial], bool]) -> Callable[[Trial], Outcome]:
    return lambda trial: Failed(trial, "OUT_OF_MEMORY") if fails(trial) else world.outcome(trial)


# The course of a search.


def test_a_third_of_the_arms_goes_on_to_three_times_the_prompts_as_worked_by_hand() -> None:
    """4 strategies and RANDOM at 5 fractions are 25 arms, of which 9, then the 4 finalists go on: 200, 600 prompts.

    Without noise the 9 best are SAPS 5 times and CCS 4 times at large fractions, so RANDOM joins them 5 times.
    """
    search = a_search(FOUR, toxicity_margin=0.0)

    first, second, last = rounds_of(search, exact(more_is_better).outcome)

    assert (len(first), {o.trial.prompts for o in first}) == (25, {200})
    assert (len(second), {o.trial.prompts for o in second}) == (9 + 5, {600})
    assert {arm for arm in arms_of(second) if arm.strategy == CCS} == {Arm(CCS, f) for f in FRACTIONS[1:]}
    assert {o.trial.split for o in (*first, *second)} == {Split.SELECTION}
    assert {o.trial.split for o in last} == {Split.REPORT}
    finalists = [Arm(SAPS, f) for f in FRACTIONS[1:]]
    assert set(arms_of(last)) == {*finalists, *(Arm(RANDOM, f) for f in FRACTIONS[1:]), FULL}


def test_a_reduction_of_two_takes_more_rounds() -> None:
    """25, 13, 7, 4: prompts 600 / 4, 600 / 2, 600."""
    search = a_search(FOUR, reduction=2)

    rounds = list(rounds_of(search, exact(more_is_better).outcome))

    assert [each[0].trial.prompts for each in rounds] == [150, 300, 600, 600]


def test_fewer_arms_than_finalists_are_ranked_once_and_all_reported() -> None:
    search = a_search((SAPS,), fractions=(0.5,), finalists=10)

    rounds = list(rounds_of(search, exact(more_is_better).outcome))

    assert [len(each) for each in rounds] == [2, 3]
    assert rounds[0][0].trial.prompts == 600


@pytest.mark.parametrize(("prompts", "first"), [(600, 67), (200, 30), (20, 20)])
def test_no_round_measures_too_few_prompts_to_order_anything(prompts: int, first: int) -> None:
    """Three rounds of 600 would begin at 600 / 9; of 200 at 23, which is below 30; of 20 at 3."""
    search = a_search(FOUR, selection_prompts=prompts, finalists=1)

    assert {trial.prompts for trial in next_trials(search, [])} == {first}


def test_every_strategy_is_tried_at_every_fraction_and_random_beside_them() -> None:
    named = a_search((SAPS, SelectionStrategy(RandomStrategy(), SelectionPreset.PAPER)))

    tried = {trial.arm for trial in next_trials(named, [])}

    assert tried == {Arm(strategy, fraction) for strategy in (SAPS, RANDOM) for fraction in FRACTIONS}
    assert tried == {trial.arm for trial in next_trials(a_search((SAPS,)), [])}


def test_random_alone_can_be_searched_for_the_smallest_fraction() -> None:
    search = a_search((RANDOM,))

    rounds = list(rounds_of(search, exact(more_is_better).outcome))

    assert [len(each) for each in rounds] == [5, 4 + 1]


@pytest.mark.parametrize("seed", range(20))
def test_random_is_in_every_round_at_every_fraction_that_is(seed: int) -> None:
    search = a_search(FOUR)

    for each in rounds_of(search, World(more_is_better, seed).outcome):
        fractions = {arm.fraction for arm in arms_of(each) if arm != FULL}
        assert {arm.fraction for arm in arms_of(each) if arm.strategy == RANDOM} == fractions


@pytest.mark.parametrize("seed", range(20))
def test_the_search_keeps_to_the_number_of_trials_it_promised(seed: int) -> None:
    search = a_search(FOUR, reduction=2 + seed % 3, finalists=1 + seed % 6)

    outcomes = played(search, World(lambda arm: 0.0, seed, arm_sd=1.0).outcome)

    assert len(outcomes) <= most_trials(search)
    assert len({outcome.trial for outcome in outcomes}) == len(outcomes)


def test_the_promise_is_met_exactly_where_every_fraction_needs_a_control() -> None:
    """25 arms; 9 and RANDOM at 5 fractions; 4 and RANDOM at 4; FULL."""
    search = a_search(FOUR, toxicity_margin=0.0)

    outcomes = played(search, exact(more_is_better).outcome)

    assert len(outcomes) == most_trials(search) == 25 + 9 + 5 + 4 + 4 + 1


# Restart.


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_outcomes_in_any_order_lead_to_the_same_trials_and_the_same_result(seed: int, order: random.Random) -> None:
    search, world = a_search((SAPS, CCS), fractions=(0.1, 0.4)), World(more_is_better, seed)
    straight = played(search, world.outcome)
    seen: list[Outcome] = []

    while waiting := list(next_trials(search, seen)):
        seen.insert(order.randint(0, len(seen)), world.outcome(order.choice(waiting)))

    assert {outcome.trial for outcome in seen} == {outcome.trial for outcome in straight}
    assert result(search, seen) == result(search, straight)


def test_the_trials_of_a_round_that_are_left_come_out_in_the_same_order() -> None:
    search, world = a_search(FOUR), exact(more_is_better)
    trials = next_trials(search, [])

    assert next_trials(search, [world.outcome(trials[3])]) == trials[:3] + trials[4:]


def test_an_outcome_that_is_there_twice_is_refused_by_its_place() -> None:
    search = a_search(FOUR)
    outcome = exact(more_is_better).outcome(next_trials(search, [])[0])

    with pytest.raises(InvalidFields) as refused:
        next_trials(search, [outcome, outcome])

    assert [violation.field for violation in refused.value.violations] == ["outcomes[1]"]


def test_an_outcome_of_another_search_is_refused_by_its_place() -> None:
    search, world = a_search(FOUR), exact(more_is_better)
    asked, unasked = next_trials(search, [])[0], Trial(Arm(SAPS, 0.3), 0, Split.SELECTION, 200)

    with pytest.raises(InvalidFields) as refused:
        next_trials(search, [world.outcome(asked), Failed(unasked, "LOST")])

    assert [violation.field for violation in refused.value.violations] == ["outcomes[1]"]


# The ranking.


def test_the_ranking_goes_by_perplexity_bound_then_margin_then_seconds_as_worked_by_hand() -> None:
    """Lowest toxicity among those with perplexity at most 1.05 is -0.10, so down to -0.08 all are equally good.

    CCS 0.2 (121 s alone) and RANDOM 0.4 (121 s) are within it and SAPS 0.4 (181 s) is the lowest; CCS comes before
    RANDOM at equal seconds by its toxicity. K_CENTER 0.1 is cheap and too toxic, GRAND least toxic and damaged.
    """
    search = a_search(FOUR, fractions=(0.1, 0.2, 0.4))
    points = {
        Arm(SAPS, 0.4): Point(-0.10, 1.04, 1.0),
        Arm(CCS, 0.2): Point(-0.09, 1.05, 1.0),
        Arm(RANDOM, 0.4): Point(-0.081, 1.0, 1.0),
        Arm(K_CENTER, 0.1): Point(-0.07, 1.0, 1.0),
        Arm(GRAND, 0.4): Point(-0.5, 1.06, 1.0),
        Arm(GRAND, 0.1): Point(-0.6, 1.07, 1.0),
    }

    assert ranking(search, points) == (
        Arm(CCS, 0.2),
        Arm(RANDOM, 0.4),
        Arm(SAPS, 0.4),
        Arm(K_CENTER, 0.1),
        Arm(GRAND, 0.4),
        Arm(GRAND, 0.1),
    )


def test_seconds_that_were_measured_do_not_change_the_course() -> None:
    search, world = a_search(FOUR), exact(more_is_better)

    def slower(trial: Trial) -> Outcome:
        outcome = world.outcome(trial)
        return Measured(trial, 1000 / outcome.seconds, outcome.change, outcome.against_random, outcome.against_full)

    assert [o.trial for o in played(search, slower)] == [o.trial for o in played(search, world.outcome)]


def test_where_all_arms_are_equal_the_cheapest_win_and_ties_go_by_the_order_they_were_named_in() -> None:
    search = a_search((K_CENTER, SAPS), fractions=(0.1, 0.2), finalists=3)

    outcomes = played(search, exact(lambda arm: -0.05).outcome)

    last = {arm for outcome in outcomes if (arm := outcome.trial.arm) and outcome.trial.split is Split.REPORT}
    assert last == {Arm(RANDOM, 0.1), Arm(RANDOM, 0.2), Arm(K_CENTER, 0.1), FULL}


# Failures.


def test_an_arm_that_fails_leaves_its_place_to_the_next() -> None:
    search, lost = a_search(FOUR, toxicity_margin=0.0), Arm(SAPS, 0.8)

    _, second, _ = rounds_of(search, failing(exact(more_is_better), lambda trial: trial.arm == lost))

    assert lost not in arms_of(second)
    # CCS 0.05, tenth without the failure, is ninth now.
    assert Arm(CCS, 0.05) in arms_of(second)


def test_random_that_failed_is_not_tried_again_and_the_search_goes_on() -> None:
    search, lost = a_search(FOUR, toxicity_margin=0.0), Arm(RANDOM, 0.8)

    rounds = list(rounds_of(search, failing(exact(more_is_better), lambda trial: trial.arm == lost)))

    assert [lost in arms_of(each) for each in rounds] == [True, False, False]
    assert Arm(SAPS, 0.8) in arms_of(rounds[-1])


@pytest.mark.parametrize(
    "change",
    [
        Change(Missing("TOO_MANY_MISSING_SCORES"), Estimate(1.0, 0.99, 1.01, 60)),
        Change(Estimate(math.nan, -0.1, 0.1, 600), Estimate(1.0, 0.99, 1.01, 60)),
        Change(Estimate(-0.9, -math.inf, 0.1, 600), Estimate(1.0, 0.99, 1.01, 60)),
        Change(Estimate(-0.9, -1.0, -0.8, 600), Estimate(math.nan, math.nan, math.nan, 60)),
        Change(Estimate(-0.9, -1.0, -0.8, 600), Missing("NO_DATA")),
    ],
)
def test_an_arm_with_an_axis_that_is_not_known_does_not_go_on(change: Change) -> None:
    search, world, odd = a_search(FOUR), exact(more_is_better), Arm(SAPS, 0.8)

    _, second, _ = rounds_of(search, lambda t: Measured(t, 1.0, change) if t.arm == odd else world.outcome(t))

    assert odd not in arms_of(second)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_an_arm_whose_seconds_are_no_number_does_not_go_on(seconds: float) -> None:
    search, world, odd = a_search(FOUR), exact(more_is_better), Arm(SAPS, 0.8)
    change = Change(Estimate(-0.9, -1.0, -0.8, 600), Estimate(1.0, 0.99, 1.01, 60))

    _, second, _ = rounds_of(search, lambda t: Measured(t, seconds, change) if t.arm == odd else world.outcome(t))

    assert odd not in arms_of(second)


def test_when_all_arms_fail_the_search_is_over() -> None:
    search = a_search(FOUR)

    outcomes = played(search, lambda trial: Failed(trial, "LOST"))

    assert len(outcomes) == 25


# Parameters.


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"fractions": (0.4, 0.1)}, ["fractions[1]"]),
        ({"fractions": (0.1, 0.1, 0.2)}, ["fractions[1]"]),
        ({"fractions": (0.0, 0.5, 1.0)}, ["fractions[0]", "fractions[2]"]),
        ({"fractions": (math.nan,)}, ["fractions[0]"]),
        ({"fractions": ()}, ["fractions"]),
        ({"strategies": ()}, ["strategies"]),
        ({"strategies": (SAPS, CCS, SAPS)}, ["strategies[2]"]),
        ({"strategies": (SelectionStrategy(FullStrategy()), SAPS)}, ["strategies[0]"]),
        ({"strategies": (SelectionStrategy(LearnabilityStrategy(then=FULL.strategy)),)}, ["strategies[0]"]),
        ({"reduction": 1, "finalists": 0}, ["reduction", "finalists"]),
        ({"selection_share": 1.0}, ["selection_share"]),
        ({"toxicity_margin": -0.1, "perplexity_margin": math.inf}, ["toxicity_margin", "perplexity_margin"]),
    ],
)
def test_parameters_that_cannot_be_searched_are_refused_by_field(fields: dict[str, object], named: list[str]) -> None:
    with pytest.raises(InvalidFields) as refused:
        AutoSearch(**{"strategies": (SAPS,), **fields})  # pyright: ignore[reportArgumentType]

    assert [violation.field for violation in refused.value.violations] == named


@given(
    st.integers(1, 4), st.integers(1, 6), st.integers(2, 5), st.integers(1, 12), st.integers(1, 400), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_every_search_ends_within_its_promise(
    strategies: int, fractions: int, reduction: int, finalists: int, prompts: int, seed: int
) -> None:
    search: Search = a_search(
        FOUR[:strategies],
        fractions=tuple((number + 1) / 10 for number in range(fractions)),
        reduction=reduction,
        finalists=finalists,
        selection_prompts=prompts,
        report_prompts=prompts,
    )
    chance = random.Random(seed)

    def play(trial: Trial) -> Outcome:
        if chance.random() < 0.2:
            return Failed(trial, "LOST")
        value = chance.choice([-0.1, -0.05, 0.0])
        change = Change(Estimate(value, value, value, trial.prompts), Estimate(1.0, 1.0, 1.0, 60))
        return Measured(trial, 1.0, change)

    rounds = list(rounds_of(search, play))

    assert sum(len(each) for each in rounds) <= most_trials(search)
    counts = [each[0].trial.prompts for each in rounds if each[0].trial.split is Split.SELECTION]
    assert counts == sorted(counts) and counts[-1] <= prompts
    result(search, [outcome for each in rounds for outcome in each])
