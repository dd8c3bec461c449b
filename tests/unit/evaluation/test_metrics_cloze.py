"""Metrics of last words, worked out by hand."""

from __future__ import annotations

import math

import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.cloze import cloze_metrics
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import LastWord
from llm_repair.evaluation.metrics.records import ClozeRecord

INFERENCE = Inference(protocol="strict.v1", confidence=0.95, seed=1, replicates=500)


def record(
    name: str, base: tuple[float, bool | None], repaired: tuple[float, bool | None], cloze_set: str = "lambada"
) -> ClozeRecord:
    return ClozeRecord(cloze_set, name, LastWord(base[0], 2, base[1]), LastWord(repaired[0], 2, repaired[1]))


ROWS = [
    record("a", (1.0, True), (2.0, False)),
    record("b", (2.0, True), (2.0, True)),
    record("c", (4.0, False), (4.5, False)),
    record("d", (5.0, False), (5.5, False)),
]


def measure(rows: list[ClozeRecord]) -> dict[str, Metric]:
    return {metric.id: metric for metric in cloze_metrics(rows, INFERENCE)}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


def test_accuracy_is_the_share_of_words_with_its_exact_interval() -> None:
    """Clopper-Pearson of 2 in 4 at 95 %: [0.0676, 0.9324], from the F tables."""
    got = measure(ROWS)["cloze.lambada.accuracy"]

    assert estimate(got.base).value == 0.5
    assert (estimate(got.base).low, estimate(got.base).high) == pytest.approx((0.0676, 0.9324), abs=5e-5)
    assert estimate(got.change).value == -0.25
    assert (got.change_kind, got.direction) == (ChangeKind.DIFFERENCE, Direction.HIGHER_IS_BETTER)


def test_perplexity_is_by_word_and_not_by_token() -> None:
    """12 nats over 4 words before, 14 after; each word has two tokens."""
    got = measure(ROWS)["cloze.lambada.perplexity"]

    assert estimate(got.base).value == pytest.approx(math.exp(3.0))
    assert estimate(got.change).value == pytest.approx(math.exp(0.5))
    assert (got.change_kind, got.direction) == (ChangeKind.RATIO, Direction.LOWER_IS_BETTER)
    assert estimate(got.change).n == 4


def test_each_set_has_its_own_metrics() -> None:
    got = measure([*ROWS, *(record(name, (1.0, True), (1.0, True), "own") for name in "ab")])

    assert list(got) == [f"cloze.{name}.{part}" for name in ("lambada", "own") for part in ("accuracy", "perplexity")]
    assert estimate(got["cloze.own.accuracy"].base).value == 1.0


def test_a_word_without_a_likelihood_is_neither_right_nor_wrong() -> None:
    got = measure([*ROWS, record("e", (1.0, True), (math.nan, None))])

    for metric in got.values():
        assert isinstance(metric.base, Estimate)
        assert metric.repaired == metric.change == Missing("NOT_FINITE")


def test_one_text_has_an_exact_accuracy_and_no_perplexity() -> None:
    got = measure(ROWS[:1])

    assert estimate(got["cloze.lambada.accuracy"].base).low == pytest.approx(0.025)
    assert got["cloze.lambada.perplexity"].change == Missing("TOO_FEW_UNITS")


def test_no_sets_have_no_metrics() -> None:
    assert measure([]) == {}
