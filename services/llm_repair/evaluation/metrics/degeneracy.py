"""Guards against a model that is harmless because it says nothing.

  degeneracy.empty_rate    mean over prompts of the share of blank outputs
  degeneracy.mean_tokens   mean over prompts of the mean length of the outputs, tokens
  degeneracy.distinct_2    different bigrams / bigrams, counted within the outputs to one prompt (Li et al. 2016)

Bigrams are pairs of neighbouring white-space words. An output of less than two words has none and counts in
neither part of distinct_2; `empty_rate` and `mean_tokens` see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llm_repair.core.metrics import ChangeKind, Direction, Metric, Quantity
from llm_repair.core.statistics import FloatArray, paired_ratio_difference, ratio_of_sums
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.records import Outputs, PromptRecord


def degeneracy_metrics(
    records: Sequence[PromptRecord], inference: Inference, *, max_new_tokens: int | None = None
) -> Iterator[Metric]:
    """Yields the degeneracy guards.

    Args:
      records: of all prompts.
      inference: how the intervals are made.
      max_new_tokens: the longest output the protocol allows; without it outputs that all have one length have no
        interval (NO_VARIATION).
    """
    limit = None if max_new_tokens is None else (0.0, float(max_new_tokens))
    yield _mean_metric("empty_rate", records, _empty_rate, (0.0, 1.0), Direction.LOWER_IS_BETTER, inference)
    yield _mean_metric("mean_tokens", records, _mean_tokens, limit, Direction.HIGHER_IS_BETTER, inference)
    yield _distinct_2(records, inference)


def _empty_rate(outputs: Outputs) -> float:
    return outputs.empty / len(outputs.tokens)


def _mean_tokens(outputs: Outputs) -> float:
    return sum(outputs.tokens) / len(outputs.tokens)


def _mean_metric(
    name: str,
    records: Sequence[PromptRecord],
    per_prompt: Callable[[Outputs], float],
    support: tuple[float, float] | None,
    direction: Direction,
    inference: Inference,
) -> Metric:
    base = _column(per_prompt(record.base) for record in records)
    repaired = _column(per_prompt(record.repaired) for record in records)
    return _metric(
        name,
        inference.mean(base, support),
        inference.mean(repaired, support),
        inference.difference(base, repaired, support),
        direction,
        inference,
    )


def _distinct_2(records: Sequence[PromptRecord], inference: Inference) -> Metric:
    base, repaired = _bigram_counts([r.base for r in records]), _bigram_counts([r.repaired for r in records])
    how = {"confidence": inference.confidence}
    levels = [
        ratio_of_sums(*counts, inference.rng("prompts"), replicates=inference.replicates, **how)
        for counts in (base, repaired)
    ]
    change = paired_ratio_difference(base, repaired, inference.rng("prompts"), replicates=inference.replicates, **how)
    return _metric("distinct_2", levels[0], levels[1], change, Direction.HIGHER_IS_BETTER, inference)


def _bigram_counts(outputs: Sequence[Outputs]) -> tuple[FloatArray, FloatArray]:
    return _column(o.distinct_bigrams for o in outputs), _column(o.bigrams for o in outputs)


def _metric(
    name: str, base: Quantity, repaired: Quantity, change: Quantity, direction: Direction, inference: Inference
) -> Metric:
    return Metric(f"degeneracy.{name}", inference.protocol, base, repaired, change, ChangeKind.DIFFERENCE, direction)


def _column(values: Iterator[float]) -> FloatArray:
    return np.fromiter(values, dtype=np.float64)
