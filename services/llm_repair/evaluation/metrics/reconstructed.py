"""The composite scores, reconstructed, of the repaired model: one number for what the raw ones say one by one.

  reconstructed.ops                OPS
  reconstructed.rps.ideal          RPS against no toxicity at unchanged perplexity
  reconstructed.rps.full           RPS against the model repaired on the whole pool
  reconstructed.ops_ratio_to_full  OPS / OPS of that model

Definitions and undefined cases: `core.composites`. T is toxicity.mean of the gating judge, P the token perplexity of
every corpus. They compare models, so neither the base alone nor a change of them is a number, and they never gate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from llm_repair.core.composites import (
    ArmComparison,
    ArmRecords,
    Likelihood,
    ReconstructedScore,
    reconstructed_score,
)
from llm_repair.core.metrics import ChangeKind, Direction, Metric, Missing, Quantity
from llm_repair.core.statistics import FloatArray, bounds_of_missing
from llm_repair.evaluation.metrics.inference import Inference, reaching
from llm_repair.evaluation.metrics.records import DocumentRecord, Records
from llm_repair.evaluation.metrics.toxicity import score_pair, too_many_missing

_SCORES: Final = {
    "ops": ReconstructedScore.OPS,
    "rps.ideal": ReconstructedScore.RPS_IDEAL,
    "rps.full": ReconstructedScore.RPS_FULL,
    "ops_ratio_to_full": ReconstructedScore.OPS_RATIO,
}


def reconstructed_metrics(records: Records, full: Records | None, judge: str, inference: Inference) -> Iterator[Metric]:
    """Yields the composites of the repaired model.

    Args:
      records: base and repaired.
      full: base and the model repaired on the whole pool, on the same units; None where there is no such model.
      judge: the gating one.
      inference: how the intervals are made.
    """
    arms = _arms(records, full, judge)
    for name, score in _SCORES.items():
        yield Metric(
            f"reconstructed.{name}",
            inference.protocol,
            Missing("COMPARES_MODELS"),
            _score(score, arms, inference),
            Missing("COMPARES_MODELS"),
            ChangeKind.DIFFERENCE,
            Direction.HIGHER_IS_BETTER,
            judge=judge,
            gating=False,
        )


@dataclass(frozen=True)
class _Arm:
    scores: FloatArray
    """(prompts, draws), NaN where missing."""
    corpora: Mapping[str, Likelihood]

    def records(self, of_draws: Callable[[FloatArray], FloatArray]) -> ArmRecords:
        return ArmRecords(of_draws(self.scores), self.corpora)


def _arms(records: Records, full: Records | None, judge: str) -> list[_Arm]:
    scores = score_pair(records.prompts, judge)
    arms = [
        _Arm(scores.base, _corpora(records.documents, repaired=False)),
        _Arm(scores.repaired, _corpora(records.documents, repaired=True)),
    ]
    if full is not None:
        measured = {record.prompt_id for record in records.prompts}
        shared = [record for record in full.prompts if record.prompt_id in measured]
        arms.append(_Arm(score_pair(shared, judge).repaired, _corpora(full.documents, repaired=True)))
    return arms


def _corpora(records: Sequence[DocumentRecord], *, repaired: bool) -> dict[str, Likelihood]:
    found: dict[str, Likelihood] = {}
    for corpus, documents in itertools.groupby(records, key=lambda record: record.corpus):
        sides = [record.repaired if repaired else record.base for record in documents]
        found[corpus] = Likelihood(
            np.array([side.nll for side in sides], dtype=np.float64),
            np.array([side.tokens for side in sides], dtype=np.float64),
        )
    return found


def _score(score: ReconstructedScore, arms: Sequence[_Arm], inference: Inference) -> Quantity:
    """Returns a score; with missing ones the interval also holds those with each side's as 0 and as 1."""
    if any(too_many_missing(arm.scores) for arm in arms):
        return Missing("TOO_MANY_MISSING_SCORES")

    def of_arms(ways: Sequence[Callable[[FloatArray], FloatArray]]) -> Quantity:
        comparison = ArmComparison(*(arm.records(way) for arm, way in zip(arms, ways, strict=True)))
        return reconstructed_score(
            score,
            comparison,
            inference.rng("reconstructed"),
            confidence=inference.confidence,
            replicates=inference.replicates,
        )

    if not any(np.isnan(arm.scores).any() for arm in arms):
        return of_arms([_mean] * len(arms))
    known = of_arms([_known_mean] * len(arms))
    ends = [of_arms(ways) for ways in itertools.product((_lowest, _highest), repeat=len(arms))]
    return reaching(known, ends)


def _mean(scores: FloatArray) -> FloatArray:
    return scores.mean(axis=1)


def _known_mean(scores: FloatArray) -> FloatArray:
    """Returns the mean of the scores there are, and in the middle of its bounds where there are none."""
    low, high = bounds_of_missing(scores)
    none = np.isnan(scores).all(axis=1, keepdims=True)
    return np.nanmean(np.where(none, (low + high) / 2, scores), axis=1)


def _lowest(scores: FloatArray) -> FloatArray:
    return bounds_of_missing(scores)[0].mean(axis=1)


def _highest(scores: FloatArray) -> FloatArray:
    return bounds_of_missing(scores)[1].mean(axis=1)
