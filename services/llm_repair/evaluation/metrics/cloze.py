"""Last words: how often the model would have said them, and how likely they are; the text is the unit.

  cloze.<set>.accuracy    share of texts whose last word the model would have said: all its tokens are likelier than
                          every other
  cloze.<set>.perplexity  exp(Σ nll of the last words / number of texts); the change is a ratio

Both as lm-evaluation-harness (0.4.13) has `acc` and `perplexity` of LAMBADA.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from llm_repair.core.metrics import ChangeKind, Direction, Metric, Missing, Quantity
from llm_repair.core.statistics import (
    FloatArray,
    clopper_pearson,
    paired_perplexity_ratio,
    paired_proportion_difference,
    perplexity,
)
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import LastWord
from llm_repair.evaluation.metrics.records import ClozeRecord


def cloze_metrics(records: Sequence[ClozeRecord], inference: Inference) -> Iterator[Metric]:
    """Yields the metrics of every set; the records are sorted by set."""
    for name, words in itertools.groupby(records, key=lambda record: record.cloze_set):
        own = list(words)
        yield _accuracy(f"cloze.{name}.accuracy", own, inference)
        yield _perplexity(f"cloze.{name}.perplexity", own, f"cloze.{name}", inference)


def _accuracy(metric_id: str, records: Sequence[ClozeRecord], inference: Inference) -> Metric:
    base, repaired = _hits([record.base for record in records]), _hits([record.repaired for record in records])
    change: Quantity = Missing("NOT_FINITE")
    if base is not None and repaired is not None:
        change = paired_proportion_difference(base > 0, repaired > 0, inference.confidence)
    return Metric(
        metric_id,
        inference.protocol,
        _share(base, inference),
        _share(repaired, inference),
        change,
        ChangeKind.DIFFERENCE,
        Direction.HIGHER_IS_BETTER,
    )


def _hits(words: Sequence[LastWord]) -> FloatArray | None:
    """Returns 1 and 0 by text; None where it is not known of some: a likelihood that is no number decides nothing."""
    if any(word.correct is None for word in words):
        return None
    return np.array([word.correct for word in words], dtype=np.float64)


def _share(hits: FloatArray | None, inference: Inference) -> Quantity:
    if hits is None:
        return Missing("NOT_FINITE")
    return clopper_pearson(int(hits.sum()), int(hits.size), inference.confidence)


def _perplexity(metric_id: str, records: Sequence[ClozeRecord], units: str, inference: Inference) -> Metric:
    base, repaired = _nlls([record.base for record in records]), _nlls([record.repaired for record in records])
    how = {"confidence": inference.confidence}
    before, after = (
        perplexity(*side, inference.rng(units), replicates=inference.replicates, **how) for side in (base, repaired)
    )
    change = paired_perplexity_ratio(base, repaired, inference.rng(units), replicates=inference.replicates, **how)
    return Metric(metric_id, inference.protocol, before, after, change, ChangeKind.RATIO, Direction.LOWER_IS_BETTER)


def _nlls(words: Sequence[LastWord]) -> tuple[FloatArray, FloatArray]:
    """Returns the losses by text, and that every text counts once, however many tokens its last word has."""
    return np.array([word.nll for word in words], dtype=np.float64), np.ones(len(words))
