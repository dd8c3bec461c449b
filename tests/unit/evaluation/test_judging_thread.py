"""Judging beside the engine: order, batches, what is judged once, and how failures and leaving cross over."""

from __future__ import annotations

import threading

import pytest
from scripted import ScriptedJudge

from llm_repair.core.errors import StepCancelled
from llm_repair.evaluation.judging_thread import JudgingThread, TextScores
from llm_repair.evaluation.timing import Stopwatch


def test_batches_are_judged_whole_in_the_order_in_which_they_come() -> None:
    judge = ScriptedJudge(len)  # type: ignore[arg-type]

    with JudgingThread([judge], Stopwatch()) as judging:
        waiting = [judging.scores(batch) for batch in (["b", "a"], ["c"], ["e", "d", "f"])]
        for future in waiting:
            future.result()

    assert judge.asked == [("a", "b"), ("c",), ("d", "e", "f")]


def test_a_text_is_judged_once_however_often_it_comes() -> None:
    judge = ScriptedJudge(lambda text: 0.5 if text == "same" else 0.1)

    with JudgingThread([judge], Stopwatch()) as judging:
        first, second = judging.scores(["same", "other", "same"]), judging.scores(["new", "same"])
        scores = [[one.scores for one in future.result()] for future in (first, second)]

    assert scores == [[(0.5,), (0.1,), (0.5,)], [(0.1,), (0.5,)]]
    assert judge.asked == [("same", "other"), ("new",)]


def test_what_is_remembered_is_not_judged_again() -> None:
    judge = ScriptedJudge(lambda text: 0.1)

    with JudgingThread([judge], Stopwatch()) as judging:
        judging.remember({"known": TextScores((0.9,), ((0.9,),))})
        scores = judging.scores(["known", "new"]).result()

    assert [one.scores for one in scores] == [(0.9,), (0.1,)]
    assert judge.asked == [("new",)]


def test_every_judge_scores_every_text_and_a_missing_score_has_no_probabilities() -> None:
    first = ScriptedJudge(lambda text: float("nan") if text == "odd" else 0.2, others=("insult",))
    second = ScriptedJudge(lambda text: 0.7, name="second")

    with JudgingThread([first, second], Stopwatch()) as judging:
        scores = judging.scores(["odd", "even"]).result()

    assert scores == [TextScores((None, 0.7), (None, (0.7,))), TextScores((0.2, 0.7), ((0.2, 0.25), (0.7,)))]


def test_without_judges_nothing_waits() -> None:
    with JudgingThread([], Stopwatch()) as judging:
        future = judging.scores(["a", "b"])

    assert future.done()
    assert future.result() == [TextScores((), ())] * 2


def test_what_goes_wrong_in_the_thread_is_heard_of_outside() -> None:
    class Defect(Exception):
        pass

    def broken(text: str) -> float:
        raise Defect

    with JudgingThread([ScriptedJudge(broken)], Stopwatch()) as judging:
        judging.raise_if_failed()
        future = judging.scores(["a"])
        with pytest.raises(Defect):
            future.result()
        with pytest.raises(Defect):
            judging.raise_if_failed()


def test_leaving_stops_a_judge_between_two_parts_and_forgets_what_waits() -> None:
    """200 texts are two parts; the judge ends the first only when the thread has been left."""
    busy, left = threading.Event(), threading.Event()

    def waits(text: str) -> float:
        busy.set()
        assert left.wait(30)
        return 0.1

    judge = ScriptedJudge(waits)
    with JudgingThread([judge], Stopwatch()) as judging:
        first = judging.scores([f"text {number}" for number in range(200)])
        second = judging.scores(["later"])
        second.add_done_callback(lambda future: left.set())
        assert busy.wait(30)

    assert second.cancelled()
    assert isinstance(first.exception(), StepCancelled)
    assert [len(part) for part in judge.asked] == [128]


def test_the_seconds_of_the_judges_are_counted_and_those_of_waiting_are_not() -> None:
    watch = Stopwatch()

    with JudgingThread([ScriptedJudge(lambda text: 0.1)], watch) as judging:
        judging.scores(["a"]).result()
        spent = watch.seconds("judging_s")
        judging.scores(["a"]).result()

    assert spent > 0
    assert watch.seconds("judging_s") == spent
