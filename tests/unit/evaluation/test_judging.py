"""Judging: a text whose score fails is missing, never clean, and costs no other text its score."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from llm_repair.core.errors import JudgeUnavailable, StepCancelled
from llm_repair.evaluation.judges.judge import Probabilities
from llm_repair.evaluation.judges.judging import as_unicode, judge_texts, score_texts


class WordJudge:
    """Scores by length over ten; what `trouble` returns for a text is raised or used instead."""

    name = "words"
    digest = "sha256:" + "0" * 64
    labels = ("length", "nothing")

    def __init__(self, trouble: Callable[[str], float | Exception | None] = lambda text: None) -> None:
        self.trouble = trouble
        self.calls: list[int] = []
        self.asked: list[str] = []

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        self.calls.append(len(texts))
        self.asked += texts
        rows = np.array([[min(len(text) / 10, 1.0), 0.0] for text in texts])
        for index, text in enumerate(texts):
            found = self.trouble(text)
            if isinstance(found, Exception):
                raise found
            if found is not None:
                rows[index] = found
        return rows

    def toxicity(self, probabilities: Probabilities) -> Probabilities:
        return probabilities.max(axis=1)


def test_scores_keep_the_order_of_the_texts_and_equal_texts_are_scored_once() -> None:
    judge = WordJudge()

    judged = judge_texts(judge, ["abc", "a", "abc", ""])

    assert judged.scores == (0.3, 0.1, 0.3, 0.0)
    assert judged.probabilities.tolist() == [[0.3, 0.0], [0.1, 0.0], [0.3, 0.0], [0.0, 0.0]]
    assert judge.calls == [3]


@pytest.mark.parametrize("trouble", [ValueError("x"), RuntimeError("x"), np.nan, np.inf, -0.1, 1.5])
def test_a_text_without_a_usable_score_is_missing_and_the_others_are_not(trouble: float | Exception) -> None:
    judged = judge_texts(WordJudge(lambda text: trouble if text == "bad" else None), ["a", "bad", "ab"])

    assert judged.scores == (0.1, None, 0.2)
    assert np.isnan(judged.probabilities[1]).all()


def test_a_failure_that_does_not_repeat_is_no_loss() -> None:
    seen: list[str] = []

    def fails_once(text: str) -> Exception | None:
        seen.append(text)
        return ValueError() if text == "bad" and seen.count("bad") == 1 else None

    assert judge_texts(WordJudge(fails_once), ["a", "bad"]).scores == (0.1, 0.3)


def test_the_wrong_number_of_rows_fails_the_step() -> None:
    class Short(WordJudge):
        def probabilities(self, texts: Sequence[str]) -> Probabilities:
            return super().probabilities(texts)[:-1]

    with pytest.raises(JudgeUnavailable, match="for 2 texts of 2 labels"):
        judge_texts(Short(), ["a", "ab"])


def test_a_judge_that_scores_nothing_is_unavailable() -> None:
    with pytest.raises(JudgeUnavailable, match="no score to any of 2 texts"):
        judge_texts(WordJudge(lambda text: ValueError()), ["a", "ab"])


def test_a_defect_of_the_judge_is_not_taken_for_a_bad_text() -> None:
    with pytest.raises(MemoryError):
        judge_texts(WordJudge(lambda text: MemoryError()), ["a"])


def test_no_texts_give_no_scores() -> None:
    judged = judge_texts(WordJudge(), [])

    assert judged.scores == ()
    assert judged.probabilities.shape == (0, 2)


def test_judging_can_be_cancelled() -> None:
    def cancel(done: int) -> None:
        raise StepCancelled

    with pytest.raises(StepCancelled):
        judge_texts(WordJudge(), ["a"], beat=cancel)


def test_texts_are_handed_over_by_length_and_not_too_many_at_once() -> None:
    """128 texts of 1 to 4 letters fill a part; of texts of 9,000 letters a second one would pass 16,384."""
    judge = WordJudge()
    short = [f"{number:04d}"[: 1 + number % 4] + "a" * (number % 4) + f"{number}" for number in range(140)]
    long = [letter * 9_000 for letter in "abc"]

    judge_texts(judge, [*long, *short])

    assert len(set(short)) == 140
    assert judge.calls == [128, 12 + 1, 1, 1]
    assert judge.asked == sorted(judge.asked, key=lambda text: (len(text), text))


def test_what_is_no_character_is_read_as_the_replacement_character_and_the_rest_as_it_is() -> None:
    judge = WordJudge()

    judged = judge_texts(judge, ["ab\ud800c", "\udc00", "\ud83d\ude00!"])

    assert judge.asked == ["\ufffd", "\U0001f600!", "ab\ufffdc"]
    assert judged.scores == (0.4, 0.1, 0.2)


@pytest.mark.parametrize("text", ["", "plain", "naïve 漢字 \U0001f600", "\x00\x1f\n"])
def test_a_text_of_characters_is_left_as_it_is(text: str) -> None:
    assert as_unicode(text) == text


def test_a_judge_silent_on_one_batch_is_not_refused_for_it() -> None:
    judged = score_texts(WordJudge(lambda text: np.nan), ["a", "ab"])

    assert judged.scores == (None, None)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_score_and_find_every_bad_text(threads: int) -> None:
    texts = [f"{number} text" for number in range(500)]
    trouble = lambda text: ValueError() if text == "77 text" else None  # noqa: E731

    judged = judge_texts(WordJudge(trouble), texts, threads=threads)

    assert judged.scores == judge_texts(WordJudge(trouble), texts).scores
    assert [text for text, score in zip(texts, judged.scores, strict=True) if score is None] == ["77 text"]


def test_a_defect_crosses_from_a_thread() -> None:
    with pytest.raises(MemoryError):
        judge_texts(WordJudge(lambda text: MemoryError()), [f"{number:04d}" for number in range(1_280)], threads=2)


def test_judging_in_threads_can_be_cancelled_while_a_judge_is_at_work() -> None:
    looked = threading.Event()

    def cancel(done: int) -> None:
        looked.set()
        raise StepCancelled

    with pytest.raises(StepCancelled):
        judge_texts(WordJudge(lambda text: None if looked.wait(10) else 0.0), ["a", "b"], threads=2, beat=cancel)
