"""What a finished search found: the front, the winner against chance, and how little data is enough.

All numbers and claims are from the report split, on which nothing was chosen.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llm_repair.core.gate import Verdict, against_bound
from llm_repair.core.metrics import Direction, Missing
from llm_repair.core.search.arms import FULL, RANDOM, Arm, Measured, Outcome, Split, Trial, known, placed
from llm_repair.core.search.costs import Bill
from llm_repair.core.search.front import dominators
from llm_repair.core.search.halving import Round, Search, ranking, replay, stages
from llm_repair.core.selection import SelectionStrategy


class Fate(enum.Enum):
    """How the search ended for an arm."""

    ON_FRONT = 1
    """Measured on the report split, and no arm there dominates it."""
    DOMINATED = 2
    """Measured on the report split, and an arm there is nowhere worse and somewhere better."""
    OUTRANKED = 3
    """Left a round on the selection split for arms that ranked higher."""
    FAILED = 4
    """A trial of it failed, or an axis could not be known."""


@dataclass(frozen=True)
class ArmResult:
    """What became of one arm."""

    arm: Arm
    fate: Fate
    round: int
    """The last it was in."""
    rank: int | None
    """In the last round on the selection split that placed it, 1 for the best; None for FULL and where none did."""
    outcome: Outcome
    """Of that round: the numbers behind the fate."""
    dominated_by: Arm | None = None
    """An arm on the front of that round, if one dominates it there; for OUTRANKED often none, as many can be on it."""
    reason: str = ""
    """Why it FAILED, UPPER_SNAKE."""


class Separation(enum.Enum):
    """Where the paired interval of toxicity lies between an arm and RANDOM at the same fraction."""

    BETTER = 1
    """Wholly below 0."""
    NOT_SEPARATED = 2
    """It holds 0: the data do not tell them apart."""
    WORSE = 3
    """Wholly above 0."""


@dataclass(frozen=True)
class Winner:
    """The best of the ranking on the selection split, as the report split saw it."""

    arm: Arm
    measured: Measured
    against_random: Separation | Missing


@dataclass(frozen=True)
class SmallestFraction:
    """The smallest fraction shown to be non-inferior to FULL, by tests from the largest downwards."""

    arm: Arm | Missing
    """Missing(NOT_SHOWN) if the first test did not pass; another reason if it could not be made."""
    tested: tuple[tuple[Arm, Verdict | Missing], ...]
    """In order; all but the last passed, since the tests stop at the first that does not."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    winner: Winner | Missing
    arms: tuple[ArmResult, ...]
    """All of them, and FULL if any reached the report split; by fate, then the latest round, then rank."""
    smallest: SmallestFraction
    """Over all strategies; at each fraction the arm that ranked best on the selection split is tested."""
    smallest_by_strategy: Mapping[SelectionStrategy, SmallestFraction]
    """For every strategy that reached the report split, RANDOM included."""
    bill: Bill
    """Predicted seconds of the trials that ran."""
    exhaustive: Bill
    """The same with every arm measured on the whole selection split."""

    @property
    def front(self) -> tuple[ArmResult, ...]:
        """The arms that no other dominates."""
        return tuple(each for each in self.arms if each.fate is Fate.ON_FRONT)


def result(search: Search, outcomes: Iterable[Outcome]) -> SearchResult:
    """Returns what the search found.

    Raises:
      InvalidFields: as `next_trials`.
      ValueError: the search is not over.
    """
    rounds = replay(search, outcomes)
    if rounds[-1].waiting:
        raise ValueError(f"{len(rounds[-1].waiting)} trials of round {len(rounds) - 1} have no outcome yet")
    report = rounds[-1] if rounds[-1].stage.split is Split.REPORT else Round(stages(search)[-1], (), {})
    standing = _standing(search, rounds, report)
    trials = [trial for each in rounds for trial in each.trials]
    whole = [Trial(arm, 0, Split.SELECTION, search.selection_prompts) for arm in search.contenders]
    return SearchResult(
        winner=_winner(standing, report),
        arms=_arm_results(search, rounds),
        smallest=_smallest(search, report, {arm.fraction: arm for arm in reversed(standing)}.values()),
        smallest_by_strategy={
            strategy: _smallest(search, report, [arm for arm in standing if arm.strategy == strategy])
            for strategy in dict.fromkeys(arm.strategy for arm in standing)
        },
        bill=search.costs.bill(trials),
        exhaustive=search.costs.bill([*whole, *trials]),
    )


def _standing(search: Search, rounds: Sequence[Round], report: Round) -> list[Arm]:
    """Returns the arms that reached the report split by their rank before, without FULL."""
    reached = {trial.arm for trial in report.trials}
    return [arm for arm in ranking(search, rounds[-2].points) if arm in reached] if reached else []


def _winner(standing: Iterable[Arm], report: Round) -> Winner | Missing:
    """Returns the first whose trial on the report split came to its end: what failed cannot be delivered."""
    for arm in standing:
        measured = placed(report.outcomes[arm])
        if isinstance(measured, Measured):
            return Winner(arm, measured, _against_random(measured, report))
    return Missing("ALL_ARMS_FAILED")


def _against_random(measured: Measured, report: Round) -> Separation | Missing:
    arm = measured.trial.arm
    if arm.strategy == RANDOM:
        return Missing("WINNER_IS_RANDOM")
    if Arm(RANDOM, arm.fraction) not in report.points:
        return Missing("RANDOM_FAILED")
    difference = known(measured.against_random.toxicity)
    if isinstance(difference, Missing):
        return difference
    if difference.high < 0:
        return Separation.BETTER
    return Separation.WORSE if difference.low > 0 else Separation.NOT_SEPARATED


def _smallest(search: Search, report: Round, arms: Iterable[Arm]) -> SmallestFraction:
    """Tests arms from the largest fraction downwards until one does not pass."""
    tested: list[tuple[Arm, Verdict | Missing]] = []
    for arm in sorted(arms, key=lambda arm: arm.fraction, reverse=True):
        tested.append((arm, _non_inferiority(search, report, arm)))
        if tested[-1][1] is not Verdict.PASS:
            break
    if not tested:
        return SmallestFraction(Missing("ALL_ARMS_FAILED"), ())
    smallest = next((arm for arm, verdict in reversed(tested) if verdict is Verdict.PASS), Missing("NOT_SHOWN"))
    first = tested[0][1]
    return SmallestFraction(first if isinstance(first, Missing) else smallest, tuple(tested))


def _non_inferiority(search: Search, report: Round, arm: Arm) -> Verdict | Missing:
    """Returns the worse verdict of two: toxicity and perplexity, each at most its margin above FULL's."""
    measured = placed(report.outcomes[arm])
    if FULL not in report.points:
        return Missing("FULL_FAILED")
    if isinstance(measured, Missing):
        return measured
    bounds = (search.auto.toxicity_margin, 1 + search.auto.perplexity_margin)
    verdicts: list[Verdict] = []
    for side, bound in zip((measured.against_full.toxicity, measured.against_full.perplexity), bounds, strict=True):
        change = known(side)
        if isinstance(change, Missing):
            return change
        verdicts.append(against_bound(change, bound, Direction.LOWER_IS_BETTER, bound_is_good=True))
    return max(verdicts, key=lambda verdict: verdict.value)


def _arm_results(search: Search, rounds: Sequence[Round]) -> tuple[ArmResult, ...]:
    last = {trial.arm: number for number, each in enumerate(rounds) for trial in each.trials}
    ranks = {
        arm: rank
        for each in rounds
        if each.stage.split is Split.SELECTION
        for rank, arm in enumerate(ranking(search, each.points), start=1)
    }
    above = [dominators(each.points) for each in rounds]
    results = [
        _arm_result(rounds[number], number, rounds[number].outcomes[arm], ranks.get(arm), above[number].get(arm))
        for arm, number in last.items()
    ]
    return tuple(sorted(results, key=lambda each: (each.fate.value, -each.round, each.rank or math.inf)))


def _arm_result(last: Round, number: int, outcome: Outcome, rank: int | None, dominated_by: Arm | None) -> ArmResult:
    why = placed(outcome)
    if isinstance(why, Missing):
        return ArmResult(outcome.trial.arm, Fate.FAILED, number, rank, outcome, reason=why.reason)
    fate = Fate.OUTRANKED
    if last.stage.split is Split.REPORT:
        fate = Fate.DOMINATED if dominated_by else Fate.ON_FRONT
    return ArmResult(outcome.trial.arm, fate, number, rank, outcome, dominated_by)
