"""Perplexity of given text, by corpus; the document is the unit and the change is a ratio.

  perplexity.<corpus>.token           exp(Σ nll / Σ predicted tokens)
  perplexity.<corpus>.word            exp(Σ nll / Σ words): comparable between tokenizers
  perplexity.<corpus>.bits_per_byte   Σ nll / (ln 2 Σ bytes): comparable between tokenizers and languages

The three restate one likelihood on different scales, so a ratio of 1.03 means a different loss on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from llm_repair.core.metrics import ChangeKind, Direction, Metric, Quantity
from llm_repair.core.statistics import (
    FloatArray,
    bits_per_byte,
    paired_perplexity_ratio,
    paired_rate_ratio,
    perplexity,
)
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.records import DocumentRecord


def perplexity_metrics(records: Sequence[DocumentRecord], inference: Inference) -> Iterator[Metric]:
    """Yields the perplexity metrics of every corpus; the records are sorted by corpus."""
    for corpus, documents in groupby(records, key=lambda record: record.corpus):
        yield from _of_corpus(f"perplexity.{corpus}", list(documents), inference)


def _of_corpus(name: str, documents: Sequence[DocumentRecord], inference: Inference) -> Iterator[Metric]:
    nll = _column([d.base.nll for d in documents]), _column([d.repaired.nll for d in documents])
    units = {
        "token": (_column([d.base.tokens for d in documents]), _column([d.repaired.tokens for d in documents])),
        "word": (_column([d.base.words for d in documents]),) * 2,
        "bits_per_byte": (_column([d.base.bytes for d in documents]),) * 2,
    }
    for suffix, sizes in units.items():
        is_rate = suffix == "bits_per_byte"
        level, change = (bits_per_byte, paired_rate_ratio) if is_rate else (perplexity, paired_perplexity_ratio)
        how = {"confidence": inference.confidence}
        base, repaired = (
            level(nll[side], sizes[side], inference.rng(name), replicates=inference.replicates, **how)
            for side in (0, 1)
        )
        ratio = change(
            (nll[0], sizes[0]), (nll[1], sizes[1]), inference.rng(name), replicates=inference.replicates, **how
        )
        yield _metric(f"{name}.{suffix}", base, repaired, ratio, inference)


def _metric(metric_id: str, base: Quantity, repaired: Quantity, ratio: Quantity, inference: Inference) -> Metric:
    return Metric(metric_id, inference.protocol, base, repaired, ratio, ChangeKind.RATIO, Direction.LOWER_IS_BETTER)


def _column(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
