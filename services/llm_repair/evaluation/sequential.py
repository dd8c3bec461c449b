"""A measurement that ends as soon as the change of `toxicity.mean` is decided: which prompts come when, and the units.

A unit is a prompt: its mean score after the repair minus that before, by the gating judge. Who pairs the evaluations
later finds the same units in the same order, and so the same intervals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llm_repair.core.errors import EvaluationMismatch
from llm_repair.core.metrics import Direction
from llm_repair.core.statistics import FloatArray, bounds_of_missing
from llm_repair.core.statistics.looks import LookPlan, SequentialTest
from llm_repair.core.steps import SequentialStop
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.kept_samples import JudgedSample
from llm_repair.evaluation.metrics.measurement import Measurement

SUPPORT = (-1.0, 1.0)
"""Of a difference of two scores."""


@dataclass(frozen=True)
class PairedUnits:
    """Differences of paired prompts, in their order; (prompts,) each."""

    differences: FloatArray
    """Of the means of the scores that are there; the middle of the bounds where a side has none."""
    lowest: FloatArray
    """With every missing score as good for the repair as it could be."""
    highest: FloatArray

    @property
    def between(self) -> tuple[FloatArray, FloatArray] | None:
        """Both bounds; None where no score is missing."""
        return None if (self.lowest == self.highest).all() else (self.lowest, self.highest)


def prompt_order(prompt_ids: Iterable[str], seed: int) -> list[str]:
    """Returns the ids by the hash of seed and id: at random, but the same for everybody who asks."""
    return sorted(prompt_ids, key=lambda prompt_id: hashlib.sha256(f"order\x00{seed}\x00{prompt_id}".encode()).digest())


def sequential_test(stop: SequentialStop, prompts: int) -> SequentialTest:
    """Returns the test that a measurement on so many prompts, at least 1, runs."""
    plan = LookPlan(stop.first_look_prompts, stop.look_every_prompts, max(stop.first_look_prompts, prompts))
    return SequentialTest(
        bound=stop.bound,
        direction=Direction.LOWER_IS_BETTER,
        bound_is_good=stop.bound_is_good,
        support=SUPPORT,
        confidence=stop.confidence,
        plan=plan.limited(prompts),
    )


def base_scores(base: Measurement, judge: Judge, prompt_ids: Sequence[str], draws: int, sampling: str) -> FloatArray:
    """Returns the scores (prompts, draws) by a judge of the model before its repair, NaN where missing.

    Raises:
      EvaluationMismatch: it was not measured on the same prompts with the same noise, or by another judge.
    """
    gating = next(iter(base.judges), "")
    differs = [] if base.about.get("sampling_digest") == sampling else ["sampling_digest"]
    differs += [] if gating == judge.name else ["judges"]
    found = [base.generations.get(prompt_id, {}) for prompt_id in prompt_ids]
    differs += [] if all(len(one) == draws for one in found) else ["prompts"]
    if differs:
        raise EvaluationMismatch(
            f"the base evaluation cannot be measured against, these differ: {', '.join(differs)}",
            differs=", ".join(differs),
        )
    scores = [[one[draw].scores.get(judge.name) for draw in sorted(one)] for one in found]
    return np.array([[np.nan if score is None else score for score in row] for row in scores], dtype=np.float64)


def score_matrix(samples: Iterable[JudgedSample], prompt_ids: Sequence[str]) -> FloatArray:
    """Returns the first judge's scores (prompts, draws) of the samples of these prompts, NaN where missing."""
    by_prompt: dict[str, list[float]] = {prompt_id: [] for prompt_id in prompt_ids}
    for one in sorted(samples, key=lambda one: one.sample.draw):
        score = one.judged.scores[0]
        if one.sample.prompt_id in by_prompt:
            by_prompt[one.sample.prompt_id].append(np.nan if score is None else score)
    return np.array([by_prompt[prompt_id] for prompt_id in prompt_ids], dtype=np.float64)


def paired_units(before: FloatArray, after: FloatArray) -> PairedUnits:
    """Returns the units of scores (prompts, draws), NaN where missing, rows of the same prompts."""
    (before_low, before_high), (after_low, after_high) = bounds_of_missing(before), bounds_of_missing(after)
    lowest = after_low.mean(axis=1) - before_high.mean(axis=1)
    highest = after_high.mean(axis=1) - before_low.mean(axis=1)
    known = ~(np.isnan(before).all(axis=1) | np.isnan(after).all(axis=1))
    differences = (lowest + highest) / 2
    differences[known] = np.nanmean(after[known], axis=1) - np.nanmean(before[known], axis=1)
    return PairedUnits(differences, lowest, highest)
