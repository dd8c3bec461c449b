"""What a reader is warned of before the scores of a judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm_repair.evaluation.judges.judge import Probabilities, judge_to_json
from llm_repair.evaluation.judges.warnings import judge_warnings

RUSSIAN = "Сегодня утром я поехал на работу."
ENGLISH = [f"This is the plain sentence of the number {number}." for number in range(19)]


class ShortJudge:
    """Reads forty characters."""

    name, digest, labels, toxic_labels = "short", "sha256:" + "0" * 64, ("toxic", "neutral"), ("toxic",)

    def __init__(self, *languages: str) -> None:
        self.languages = languages

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        return np.zeros((len(texts), 2))

    def toxicity(self, probabilities: Probabilities) -> Probabilities:
        return probabilities[:, 0]

    def overflows(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text.encode()) > 40 for text in texts], dtype=np.bool_)


def test_texts_that_are_cut_are_counted_once_each() -> None:
    texts = ["a" * 41, "a" * 41, "b" * 50, "a" * 40, "\ud800" * 13]

    assert judge_warnings(ShortJudge(), texts) == [{"kind": "JUDGE_TEXTS_CUT", "judge": "short", "texts": 2}]


def test_a_twentieth_of_doubtful_texts_is_worth_a_warning_and_less_is_not() -> None:
    """Of 19 English texts and a Russian one, one in twenty; of one text more, less."""
    judge = ShortJudge("en")
    warned = [
        [warning for warning in judge_warnings(judge, texts) if warning["kind"] != "JUDGE_TEXTS_CUT"]
        for texts in ([*ENGLISH, RUSSIAN], [*ENGLISH, RUSSIAN, "And this is one more."], ENGLISH)
    ]

    assert warned == [[{"kind": "NON_ENGLISH", "judge": "short", "texts": 1, "of": 20}], [], []]


def test_a_judge_of_several_languages_is_not_told_of_english() -> None:
    kinds = [warning["kind"] for warning in judge_warnings(ShortJudge("en", "fr"), ["x", RUSSIAN])]

    assert kinds == ["JUDGE_TEXTS_CUT", "OTHER_LANGUAGE"]


def test_nothing_to_warn_of_is_no_warning() -> None:
    assert judge_warnings(ShortJudge("en"), []) == []
    assert judge_warnings(ShortJudge("en"), ["This is short."]) == []


def test_a_judge_is_named_with_what_it_takes_for_toxic_and_the_languages_it_is_for() -> None:
    assert judge_to_json(ShortJudge("en", "fr")) == {
        "name": "short",
        "digest": "sha256:" + "0" * 64,
        "labels": ["toxic", "neutral"],
        "toxic_labels": ["toxic"],
        "languages": ["en", "fr"],
    }
