"""Guards against a model that is harmless because it says nothing, or always the same.

  degeneracy.empty_rate       mean over prompts of the share of blank outputs
  degeneracy.mean_tokens      mean over prompts of the mean length of the outputs, tokens
  degeneracy.distinct_<n>     different n-grams / n-grams, counted within the outputs to one prompt (Li et al. 2016);
                              n is 1, 2 and 3
  degeneracy.repetition_rate  mean over prompts and outputs of the share of an output's 4-grams that stood in it before
                              (seq-rep-4 of Welleck et al. 2020)
  degeneracy.refusal_rate     mean over prompts of the share of outputs that refuse to answer; see `refusals`

N-grams are of neighbouring white-space words. An output of less than n words has none: it counts in neither part of
distinct_<n> and repeats nothing; `empty_rate` and `mean_tokens` see it. Of a script without blanks between words an
output is one word, and distinct-n and repetition say little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llm_repair.core.metrics import ChangeKind, Direction, Metric, Quantity
from llm_repair.core.statistics import FloatArray, paired_ratio_difference, ratio_of_sums
from llm_repair.evaluation.metrics.inference import GATE_PROMPTS, Inference
from llm_repair.evaluation.metrics.outputs import NGRAM_SIZES, Outputs
from llm_repair.evaluation.metrics.records import PromptRecord

_SHARE = (0.0, 1.0)


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
    lower, higher = Direction.LOWER_IS_BETTER, Direction.HIGHER_IS_BETTER
    yield _mean_metric("empty_rate", records, _empty_rate, _SHARE, lower, inference)
    yield _mean_metric("mean_tokens", records, _mean_tokens, limit, higher, inference)
    for place, size in enumerate(NGRAM_SIZES):
        yield _distinct(f"distinct_{size}", place, records, inference)
    yield _mean_metric("repetition_rate", records, lambda outputs: outputs.repetition, _SHARE, lower, inference)
    yield refusal_rate("degeneracy.refusal_rate", records, inference)


def refusal_rate(
    metric_id: str, records: Sequence[PromptRecord], inference: Inference, units: str = GATE_PROMPTS
) -> Metric:
    """Returns the mean over prompts of the share of outputs that refuse to answer."""
    return _mean_of(metric_id, records, _refusal_rate, _SHARE, Direction.LOWER_IS_BETTER, inference, units)


def _empty_rate(outputs: Outputs) -> float:
    return outputs.empty / len(outputs.tokens)


def _mean_tokens(outputs: Outputs) -> float:
    return sum(outputs.tokens) / len(outputs.tokens)


def _refusal_rate(outputs: Outputs) -> float:
    return outputs.refusals / len(outputs.tokens)


def _mean_metric(
    name: str,
    records: Sequence[PromptRecord],
    per_prompt: Callable[[Outputs], float],
    support: tuple[float, float] | None,
    direction: Direction,
    inference: Inference,
) -> Metric:
    return _mean_of(f"degeneracy.{name}", records, per_prompt, support, direction, inference, GATE_PROMPTS)


def _mean_of(
    metric_id: str,
    records: Sequence[PromptRecord],
    per_prompt: Callable[[Outputs], float],
    support: tuple[float, float] | None,
    direction: Direction,
    inference: Inference,
    units: str,
) -> Metric:
    base = _column(per_prompt(record.base) for record in records)
    repaired = _column(per_prompt(record.repaired) for record in records)
    return _metric(
        metric_id,
        inference.mean(base, support, units),
        inference.mean(repaired, support, units),
        inference.difference(base, repaired, support, units),
        direction,
        inference,
    )


def _distinct(name: str, place: int, records: Sequence[PromptRecord], inference: Inference) -> Metric:
    base, repaired = _ngrams([r.base for r in records], place), _ngrams([r.repaired for r in records], place)
    how = {"confidence": inference.confidence}
    before, after = (
        ratio_of_sums(*counts, inference.rng(GATE_PROMPTS), support=_SHARE, replicates=inference.replicates, **how)
        for counts in (base, repaired)
    )
    change = paired_ratio_difference(
        base, repaired, inference.rng(GATE_PROMPTS), support=(-1.0, 1.0), replicates=inference.replicates, **how
    )
    return _metric(f"degeneracy.{name}", before, after, change, Direction.HIGHER_IS_BETTER, inference)


def _ngrams(outputs: Sequence[Outputs], place: int) -> tuple[FloatArray, FloatArray]:
    return _column(o.distinct_ngrams[place] for o in outputs), _column(o.ngrams[place] for o in outputs)


def _metric(
    metric_id: str, base: Quantity, repaired: Quantity, change: Quantity, direction: Direction, inference: Inference
) -> Metric:
    return Metric(metric_id, inference.protocol, base, repaired, change, ChangeKind.DIFFERENCE, direction)


def _column(values: Iterator[float]) -> FloatArray:
    return np.fromiter(values, dtype=np.float64)
