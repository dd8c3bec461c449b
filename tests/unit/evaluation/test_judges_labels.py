"""Which labels mean toxic: those that are stated, or all that say so, and a refusal rather than a guess."""

from __future__ import annotations

import pytest

from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.labels import names_a_clean_text, toxic_labels


@pytest.mark.parametrize(
    ("labels", "toxic"),
    [
        (["neutral", "toxic"], ("toxic",)),
        (["Non-Toxic", "Toxic"], ("Toxic",)),
        (["not_hate", "hate"], ("hate",)),
        (["NORMAL", "offensive language", "hate-speech"], ("offensive language", "hate-speech")),
    ],
)
def test_names_say_which_labels_are_toxic(labels: list[str], toxic: tuple[str, ...]) -> None:
    assert toxic_labels("some", labels, (), exclusive=True) == toxic


def test_labels_of_one_text_may_all_be_toxic_where_it_can_have_none() -> None:
    labels = ["toxicity", "severe_toxicity", "identity_hate"]

    assert toxic_labels("some", labels, (), exclusive=False) == tuple(labels)


def test_stated_labels_count_whatever_their_names_and_in_the_order_of_the_judge() -> None:
    assert toxic_labels("some", ["a", "b", "c"], ("c", "a"), exclusive=True) == ("a", "c")


@pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1"], ["toxic", "male"], ["spam", "ham"], ["antitoxic", "toxic"]])
def test_names_that_do_not_say_are_refused_with_all_of_them(labels: list[str]) -> None:
    with pytest.raises(JudgeUnavailable, match="do not say which") as refusal:
        toxic_labels("some", labels, (), exclusive=False)

    assert all(label in refusal.value.message for label in labels)


def test_labels_none_of_which_is_toxic_are_refused() -> None:
    with pytest.raises(JudgeUnavailable, match="none of the labels"):
        toxic_labels("some", ["neutral", "non-toxic"], (), exclusive=False)


@pytest.mark.parametrize("stated", [(), ("hate", "offensive")])
def test_a_judge_that_would_call_every_text_toxic_is_refused(stated: tuple[str, ...]) -> None:
    with pytest.raises(JudgeUnavailable, match="each would mean toxic"):
        toxic_labels("some", ["hate", "offensive"], stated, exclusive=True)


def test_a_stated_label_that_the_judge_lacks_is_refused() -> None:
    with pytest.raises(JudgeUnavailable, match="no label vile; it has kind, rude"):
        toxic_labels("some", ["kind", "rude"], ("rude", "vile"), exclusive=False)


@pytest.mark.parametrize(
    ("labels", "found"), [(["hate", "none"], True), (["NOT TOXIC", "x"], True), (["toxic", "insult"], False)]
)
def test_a_clean_label_is_known_by_name(labels: list[str], found: bool) -> None:
    assert names_a_clean_text(labels) is found
