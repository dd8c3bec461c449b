"""Successive halving: which trials come next, as a function of the parameters and of the outcomes so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.fields import FieldChecks
from llm_repair.core.search.arms import FULL, RANDOM, Arm, Outcome, Split, Trial
from llm_repair.core.search.costs import CostModel, features_of, shared_first
from llm_repair.core.search.front import Point, point_of
from llm_repair.core.selection import AutoSearch, RandomStrategy

LEAST_PROMPTS: Final = 30
"""A round measures at least so many prompts, if there are so many: the mean of fewer orders nothing."""


@dataclass(frozen=True)
class Search:
    """All that decides the course of a search but the outcomes."""

    auto: AutoSearch
    """With the presets of its strategies written out, so that none is there twice under two names."""
    costs: CostModel
    selection_prompts: int
    report_prompts: int

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("selection_prompts", self.selection_prompts, low=1)
            check.within("report_prompts", self.report_prompts, low=1)
            for strategy in dict.fromkeys(arm.strategy for arm in (*self.contenders, FULL)):
                name = type(strategy.kind).__name__
                check.that("costs.select_s", strategy in self.costs.select_s, f"has no entry for {name}")
                for feature in features_of(strategy):
                    there = feature in self.costs.feature_s
                    check.that("costs.feature_s", there, f"has no entry for {feature.kind.name}, needed by {name}")

    @property
    def contenders(self) -> tuple[Arm, ...]:
        """Every arm that is tried, RANDOM first; FULL is no contender."""
        named = (choice for choice in self.auto.strategies if not isinstance(choice.kind, RandomStrategy))
        return tuple(Arm(choice, fraction) for choice in (RANDOM, *named) for fraction in self.auto.fractions)


@dataclass(frozen=True)
class Stage:
    """What a round does, whoever gets there."""

    split: Split
    places: int
    """Arms that get there by rank; controls come on top."""
    prompts: int


def stages(search: Search) -> tuple[Stage, ...]:
    """Returns the rounds of a search: at least one on the selection split, then the one on the report split.

    1 in η of the arms goes on, never fewer than the finalists; the last round on the selection split measures all of
    it, and each one before 1 in η of the next one's prompts.
    """
    eta, finalists = search.auto.reduction, search.auto.finalists
    places = [len(search.contenders)]
    while len(places) == 1 or places[-1] > finalists:
        places.append(min(places[-1], max(finalists, -(-places[-1] // eta))))
    whole = search.selection_prompts
    prompts = [max(min(LEAST_PROMPTS, whole), -(-whole // eta**left)) for left in reversed(range(len(places) - 1))]
    rounds = [Stage(Split.SELECTION, *each) for each in zip(places[:-1], prompts, strict=True)]
    return (*rounds, Stage(Split.REPORT, places[-1], search.report_prompts))


def most_trials(search: Search) -> int:
    """Returns the number of trials that no course of the search exceeds."""
    first, *later = stages(search)
    controls = len(search.auto.fractions)
    return first.places + sum(stage.places + min(stage.places, controls) for stage in later) + 1


@dataclass(frozen=True)
class Round:
    """One round, as far as it has come."""

    stage: Stage
    trials: tuple[Trial, ...]
    """In the order to run them."""
    outcomes: Mapping[Arm, Outcome]
    """Of those that have ended."""

    @property
    def waiting(self) -> tuple[Trial, ...]:
        """The trials without an outcome."""
        return tuple(trial for trial in self.trials if trial.arm not in self.outcomes)

    @property
    def points(self) -> dict[Arm, Point]:
        """Where the arms lie that can be placed, in the order of the trials."""
        placed = {trial.arm: point_of(self.outcomes[trial.arm]) for trial in self.trials if trial.arm in self.outcomes}
        return {arm: point for arm, point in placed.items() if point}


def next_trials(search: Search, outcomes: Iterable[Outcome]) -> tuple[Trial, ...]:
    """Returns the trials of the current round that have no outcome, in the order to run them; none at the end.

    They may run in any order and side by side. The next round begins when all of them have an outcome.

    Raises:
      InvalidFields: an outcome is there twice, or is of a trial that this search never comes to.
    """
    return replay(search, outcomes)[-1].waiting


def replay(search: Search, outcomes: Iterable[Outcome]) -> tuple[Round, ...]:
    """Returns the rounds that have begun, the current one last; raises as `next_trials`."""
    given = _by_trial(outcomes)
    played: list[Round] = []
    for number, stage in enumerate(stages(search)):
        arms = _entrants(search, stage, played[-1]) if played else search.contenders
        if not arms:
            break
        trials = shared_first(Trial(arm, number, stage.split, stage.prompts) for arm in arms)
        ended = {trial.arm: given.pop(trial)[1] for trial in trials if trial in given}
        played.append(Round(stage, trials, ended))
        if played[-1].waiting:
            break
    if given:
        raise InvalidFields(
            FieldViolation(f"outcomes[{index}]", "is of a trial that this search has not come to")
            for index, _ in given.values()
        )
    return tuple(played)


def ranking(search: Search, points: Mapping[Arm, Point]) -> tuple[Arm, ...]:
    """Returns arms from best to worst by their values in one round.

    1. Those whose perplexity is within its margin of the base model's, before the others.
    2. Among these, all whose toxicity is within its margin of the lowest: no difference worth paying for, so they go
       by predicted seconds. Then the rest, by toxicity.
    3. The others by perplexity.

    Ties go by toxicity, perplexity, predicted seconds, and the order in which the arms were named. Seconds are the
    predicted ones, so that two searches on equal data take equal courses.
    """
    bound = 1 + search.auto.perplexity_margin
    sound = [point.toxicity for point in points.values() if point.perplexity <= bound]
    good_enough = min(sound, default=0.0) + search.auto.toxicity_margin

    def place(arm: Arm) -> tuple[float, ...]:
        at, seconds = points[arm], search.costs.alone_s(arm)
        if at.perplexity > bound:
            return 2, at.perplexity, at.toxicity, seconds
        if at.toxicity > good_enough:
            return 1, at.toxicity, at.perplexity, seconds
        return 0, seconds, at.toxicity, at.perplexity

    return tuple(sorted((arm for arm in search.contenders if arm in points), key=place))


def _entrants(search: Search, stage: Stage, before: Round) -> Sequence[Arm]:
    """Returns the best of the round before, RANDOM at their fractions, and at the end FULL; none if all failed."""
    ranked = ranking(search, before.points)
    best = ranked[: stage.places]
    fractions = {arm.fraction for arm in best}
    controls = [arm for arm in ranked if arm.strategy == RANDOM and arm.fraction in fractions]
    entered = [arm for arm in search.contenders if arm in best or arm in controls]
    return [*entered, FULL] if entered and stage.split is Split.REPORT else entered


def _by_trial(outcomes: Iterable[Outcome]) -> dict[Trial, tuple[int, Outcome]]:
    """Returns outcomes with their places, by trial."""
    given: dict[Trial, tuple[int, Outcome]] = {}
    with FieldChecks() as check:
        for index, outcome in enumerate(outcomes):
            check.that(f"outcomes[{index}]", outcome.trial not in given, "is of a trial that has one already")
            given.setdefault(outcome.trial, (index, outcome))
    return given
