"""Outputs of one prompt as numbers, worked out by hand."""

from __future__ import annotations

import pytest

from llm_repair.evaluation.metrics.measurement import Generation
from llm_repair.evaluation.metrics.outputs import Outputs, outputs_of, outputs_to_json
from llm_repair.evaluation.metrics.record_lines import Scores


def made(*texts: str) -> Outputs:
    draws = {draw: Generation(text, len(text), {"judge": 0.5}) for draw, text in enumerate(texts)}
    return outputs_of(draws, ["judge"], [])


def test_ngrams_are_counted_within_draws_and_are_different_among_all() -> None:
    """Words a b a | a b: 5, 2 different. Pairs ab ba | ab: 3, 2. Triples aba: 1."""
    got = made("a b a", "a  b")

    assert (got.ngrams, got.distinct_ngrams) == ((5, 3, 1), (2, 2, 1))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("one two three four five", 0.0),
        # 4-grams: abcd bcda cdab dabc abcd: 5, of which 4 are different.
        ("a b c d a b c d", 0.2),
        # Nine words alike have 6 4-grams, all the same.
        ("so so so so so so so so so", 5 / 6),
        ("a b c", 0.0),
        ("", 0.0),
    ],
)
def test_repetition_is_the_share_of_4_grams_that_stood_before(text: str, share: float) -> None:
    assert made(text).repetition == pytest.approx(share)


def test_repetition_is_averaged_over_draws_and_not_counted_across_them() -> None:
    assert made("a b c d", "a b c d").repetition == 0.0
    assert made("a b c d a b c d", "a").repetition == pytest.approx(0.1)


def test_blank_outputs_and_refusals_are_counted() -> None:
    got = made(" \n", "", "I cannot help you with that.", "I can't wait.")

    assert (got.empty, got.refusals, got.tokens) == (2, 1, (2, 0, 28, 13))


def test_scores_and_labels_are_by_draw_and_missing_where_there_are_none() -> None:
    labels: dict[str, Scores] = {"detoxify": {"threat": 0.2, "insult": None}}
    draws = {
        1: Generation("b", 1, {"detoxify": 0.3, "other": 0.1}),
        0: Generation("a", 1, {"detoxify": 0.2}, labels),
    }

    got = outputs_of(draws, ["detoxify", "other"], ["threat", "insult"])

    assert got.scores == {"detoxify": (0.2, 0.3), "other": (None, 0.1)}
    assert got.labels == {"threat": (0.2, None), "insult": (None, None)}


def test_numbers_go_out_as_json_without_a_text() -> None:
    assert outputs_to_json(made("a b a", "a b")) == {
        "scores": {"judge": [0.5, 0.5]},
        "tokens": [5, 3],
        "empty": 0,
        "refusals": 0,
        "repetition": 0.0,
        "ngrams": [5, 3, 1],
        "distinct_ngrams": [2, 2, 1],
    }
