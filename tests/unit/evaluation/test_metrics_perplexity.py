"""Perplexity metrics from records, with values worked out by hand."""

from __future__ import annotations

import math

import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import Document
from llm_repair.evaluation.metrics.perplexity import perplexity_metrics
from llm_repair.evaluation.metrics.records import DocumentRecord

INFERENCE = Inference(protocol="strict.v1", confidence=0.95, seed=1, replicates=500)


def document(name: str, base_nll: float, repaired_nll: float, tokens: int, corpus: str = "boolq") -> DocumentRecord:
    """Half as many words as tokens, three bytes a token."""
    sizes = (tokens, tokens // 2, 3 * tokens)
    return DocumentRecord(corpus, name, Document(base_nll, *sizes), Document(repaired_nll, *sizes))


def measure(rows: list[DocumentRecord]) -> dict[str, Metric]:
    return {metric.id: metric for metric in perplexity_metrics(rows, INFERENCE)}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


ROWS = [document("a", 20, 21, 10), document("b", 70, 71, 20), document("c", 30, 30, 10)]


def test_values_are_the_three_scales_of_one_likelihood() -> None:
    """Base 120 nats, repaired 122, over 40 tokens, 20 words, 120 bytes."""
    got = measure(ROWS)

    assert estimate(got["perplexity.boolq.token"].base).value == pytest.approx(math.exp(3.0))
    assert estimate(got["perplexity.boolq.word"].base).value == pytest.approx(math.exp(6.0))
    assert estimate(got["perplexity.boolq.bits_per_byte"].base).value == pytest.approx(1 / math.log(2))
    assert estimate(got["perplexity.boolq.token"].change).value == pytest.approx(math.exp(0.05))
    assert estimate(got["perplexity.boolq.word"].change).value == pytest.approx(math.exp(0.1))
    assert estimate(got["perplexity.boolq.bits_per_byte"].change).value == pytest.approx(122 / 120)


def test_each_side_is_divided_by_its_own_tokens() -> None:
    """60 nats over 30 tokens before, 60 over 40 after: the ratio is exp(1.5 - 2)."""
    rows = [
        DocumentRecord("boolq", name, Document(nll, tokens, 8, 40), Document(nll, tokens + more, 8, 40))
        for name, nll, tokens, more in (("a", 20.0, 10, 5), ("b", 25.0, 10, 3), ("c", 15.0, 10, 2))
    ]

    assert estimate(measure(rows)["perplexity.boolq.token"].change).value == pytest.approx(math.exp(-0.5))


def test_changes_are_ratios_and_lower_is_better() -> None:
    for metric in measure(ROWS).values():
        assert (metric.change_kind, metric.direction) == (ChangeKind.RATIO, Direction.LOWER_IS_BETTER)
        assert (metric.judge, metric.gating, metric.protocol) == ("", True, "strict.v1")
        assert estimate(metric.change).n == 3


def test_each_corpus_has_its_own_metrics() -> None:
    got = measure([*ROWS, *(document(name, 10, 12 + i, 5, "wikitext2") for i, name in enumerate("abc"))])

    assert [name for name in got if name.endswith(".token")] == [
        "perplexity.boolq.token",
        "perplexity.wikitext2.token",
    ]
    assert estimate(got["perplexity.wikitext2.token"].repaired).value == pytest.approx(math.exp(39 / 15))


def test_one_document_has_no_interval_and_so_no_number() -> None:
    assert measure(ROWS[:1])["perplexity.boolq.token"].change == Missing("TOO_FEW_UNITS")


def test_a_likelihood_that_is_no_number_is_missing_on_its_side_and_in_the_change() -> None:
    got = measure([*ROWS, document("d", 10, math.nan, 5)])["perplexity.boolq.token"]

    assert isinstance(got.base, Estimate)
    assert got.repaired == got.change == Missing("NOT_FINITE")
