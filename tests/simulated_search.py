"""A world in which the truth about every arm is known, to put searches to: repairs, prompts and noise, all seeded."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llm_repair.core.metrics import Estimate
from llm_repair.core.search import (
    FULL,
    NOT_COMPARED,
    RANDOM,
    Arm,
    Change,
    CostModel,
    Feature,
    Measured,
    Outcome,
    Search,
    Split,
    Trial,
    features_of,
    next_trials,
)
from llm_repair.core.selection import (
    AutoSearch,
    CcsStrategy,
    GrandStrategy,
    KCenterStrategy,
    SapsStrategy,
    SelectionStrategy,
)
from llm_repair.core.statistics.distributions import student_t_quantile

MOST_PROMPTS = 1000

SAPS, CCS = SelectionStrategy(SapsStrategy()), SelectionStrategy(CcsStrategy())
K_CENTER, GRAND = SelectionStrategy(KCenterStrategy()), SelectionStrategy(GrandStrategy())


@dataclass(frozen=True)
class World:
    """True changes of toxicity and ratios of perplexity, and the noise through which they are seen."""

    toxicity: Callable[[Arm], float]
    seed: int
    perplexity: Callable[[Arm], float] = lambda arm: 1.01
    prompt_sd: float = 0.10
    """Per prompt, in common to all arms."""
    arm_sd: float = 0.12
    """Per prompt and arm: paired differences have an sd of 0.17, as the means of 4 draws of a real model have."""
    confidence: float = 0.95
    _seen: dict[tuple[Arm, Split], npt.NDArray[np.float64]] = field(default_factory=dict)

    def outcome(self, trial: Trial) -> Measured:
        """Returns what the trial would bring: changes on its prompts, a prefix of those of a longer one."""
        arm, at_end = trial.arm, trial.split is Split.REPORT
        return Measured(
            trial,
            seconds=100 * arm.fraction + 5 * len(features_of(arm.strategy)),
            change=self._change(trial, None),
            against_random=self._change(trial, Arm(RANDOM, arm.fraction)) if at_end and arm != FULL else NOT_COMPARED,
            against_full=self._change(trial, FULL) if at_end else NOT_COMPARED,
        )

    def _change(self, trial: Trial, other: Arm | None) -> Change:
        values = self._values(trial.arm, trial)
        ratio = self.perplexity(trial.arm)
        if other:
            values = values - self._values(other, trial)
            ratio /= self.perplexity(other)
        return Change(self._interval(values), Estimate(ratio, 0.99 * ratio, 1.01 * ratio, 60))

    def _values(self, arm: Arm, trial: Trial) -> npt.NDArray[np.float64]:
        """Returns the change of every prompt of the trial under an arm, (prompts,)."""
        key = arm, trial.split
        if key not in self._seen:
            common = self._normal(trial.split, "prompts", self.prompt_sd)
            self._seen[key] = self.toxicity(arm) + common + self._normal(trial.split, repr(arm), self.arm_sd)
        return self._seen[key][: trial.prompts]

    def _normal(self, split: Split, purpose: str, sd: float) -> npt.NDArray[np.float64]:
        return np.random.default_rng([self.seed, split.value, zlib.crc32(purpose.encode())]).normal(0, sd, MOST_PROMPTS)

    def _interval(self, values: npt.NDArray[np.float64]) -> Estimate:
        mean, n = float(values.mean()), len(values)
        half = _t(1 - self.confidence, n) * float(values.std(ddof=1)) / n**0.5
        return Estimate(mean, mean - half, mean + half, n)


def exact(toxicity: Callable[[Arm], float], perplexity: Callable[[Arm], float] = lambda arm: 1.01) -> World:
    """Returns a world without noise: values are true and intervals of toxicity are points."""
    return World(toxicity, 0, perplexity, prompt_sd=0.0, arm_sd=0.0)


@functools.cache
def _t(both_tails: float, n: int) -> float:
    return student_t_quantile(both_tails / 2, n - 1)


def a_search(
    strategies: tuple[SelectionStrategy, ...],
    *,
    selection_prompts: int = 600,
    report_prompts: int = 600,
    **auto: object,
) -> Search:
    """Returns a search with made-up costs: a feature 60 s, a ranking 1 s, training on the whole pool 300 s."""
    wanted = (*strategies, RANDOM, FULL.strategy)
    features: dict[Feature, float] = {feature: 60.0 for strategy in wanted for feature in features_of(strategy)}
    costs = CostModel(features, dict.fromkeys(wanted, 1.0), repair_s=300.0, prompt_s=0.5, corpora_s=9.0)
    return Search(AutoSearch(strategies, **auto), costs, selection_prompts, report_prompts)  # pyright: ignore[reportArgumentType]


def rounds_of(search: Search, play: Callable[[Trial], Outcome]) -> Iterator[tuple[Outcome, ...]]:
    """Plays a search to its end, and yields the outcomes of every round."""
    outcomes: list[Outcome] = []
    while trials := next_trials(search, outcomes):
        latest = tuple(play(trial) for trial in trials)
        outcomes += latest
        yield latest


def played(search: Search, play: Callable[[Trial], Outcome]) -> tuple[Outcome, ...]:
    """Plays a search to its end."""
    return tuple(outcome for each in rounds_of(search, play) for outcome in each)
