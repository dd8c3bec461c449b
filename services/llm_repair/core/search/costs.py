"""What a search costs: every feature once, every repair once, every prompt of an arm once.

Predicted, for plans and for comparisons on one scale. What was really spent is in the ledger, step by step.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llm_repair.core.scoring import DYNAMICS_SCORES
from llm_repair.core.search.arms import Arm, Split, Trial
from llm_repair.core.selection import (
    CcsStrategy,
    LearnabilityStrategy,
    Score,
    SelectionStrategy,
    Strategy,
    TextView,
    score_gone_by,
    view_ranked_by,
)


@dataclass(frozen=True)
class Feature:
    """What strategies read of every pool row: made once, whoever asks first, and the same for all fractions."""

    kind: TextView | Score
    """Embeddings of a text, or a score."""
    settings: tuple[float, ...] = ()
    """What else decides it: passes of the training run; or draws, new tokens and failing score of own samples."""


def features_of(strategy: SelectionStrategy) -> tuple[Feature, ...]:
    """Returns the features of a strategy and of its filters, each once, as the plan of a repair has them."""
    view = view_ranked_by(strategy.ranking)
    found = [Feature(view)] if view else []
    for part in (*strategy.filters, strategy.ranking):
        score = score_gone_by(part)
        if score is Score.INSTANCE_HARDNESS:
            found += [Feature(TextView.CHOSEN), Feature(TextView.REJECTED)]
        if score:
            found.append(Feature(score, _settings(part, score)))
    return tuple(dict.fromkeys(found))


def _settings(part: Strategy, score: Score) -> tuple[float, ...]:
    match part:
        case CcsStrategy() if score in DYNAMICS_SCORES:
            return (part.dynamics_epochs,)
        case LearnabilityStrategy():
            return (part.draws, part.max_new_tokens, part.failing_from)
        case _:
            return ()


def shared_first(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Returns trials in the order to run them: without features first, then by the feature that most of them share.

    So the controls are there early, and what serves many is made before what serves few. Stable.
    """
    listed = tuple(trials)
    needed = {trial.arm.strategy: features_of(trial.arm.strategy) for trial in listed}
    sharers = Counter(feature for trial in listed for feature in needed[trial.arm.strategy])

    def turn(trial: Trial) -> tuple[bool, int]:
        features = needed[trial.arm.strategy]
        return bool(features), -max((sharers[feature] for feature in features), default=0)

    return tuple(sorted(listed, key=turn))


@dataclass(frozen=True)
class Bill:
    """Predicted seconds of some trials together."""

    features_s: float
    selection_s: float
    repair_s: float
    evaluation_s: float

    @property
    def total_s(self) -> float:
        """Of everything."""
        return self.features_s + self.selection_s + self.repair_s + self.evaluation_s


@dataclass(frozen=True)
class CostModel:
    """Predicted seconds of every step that a search can need; fixed for the life of a search."""

    feature_s: Mapping[Feature, float]
    """Of the whole pool, for every feature of every strategy."""
    select_s: Mapping[SelectionStrategy, float]
    """Of the ranking, for every strategy and both controls."""
    repair_s: float
    """Of training on the whole pool; a fraction takes its share."""
    prompt_s: float
    """Of measuring one prompt: all its draws, and the judge."""
    corpora_s: float
    """Of measuring perplexity once, on the corpora of one split."""

    def alone_s(self, arm: Arm) -> float:
        """Returns the seconds of one arm with nothing cached, without evaluation."""
        return self._repairs([arm]).total_s

    def bill(self, trials: Iterable[Trial]) -> Bill:
        """Returns the seconds of trials together; one that failed is taken to have run to its end."""
        prompts: dict[tuple[Arm, Split], int] = {}
        for trial in trials:
            place = trial.arm, trial.split
            prompts[place] = max(trial.prompts, prompts.get(place, 0))
        evaluation_s = sum(self.prompt_s * count + self.corpora_s for count in prompts.values())
        return dataclasses.replace(self._repairs(arm for arm, _ in prompts), evaluation_s=evaluation_s)

    def _repairs(self, arms: Iterable[Arm]) -> Bill:
        distinct = tuple(dict.fromkeys(arms))
        features = {feature for arm in distinct for feature in features_of(arm.strategy)}
        return Bill(
            features_s=math.fsum(self.feature_s[feature] for feature in features),
            selection_s=math.fsum(self.select_s[arm.strategy] for arm in distinct),
            repair_s=math.fsum(self.repair_s * arm.fraction for arm in distinct),
            evaluation_s=0.0,
        )
