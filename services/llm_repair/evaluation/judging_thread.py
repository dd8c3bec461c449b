"""Lets judges score texts in a thread of their own while an engine makes the next ones.

Batches are judged whole, one after another, in the order in which they come, so what a judge sees together never
depends on how fast anybody is. A thread is enough: networks and tokenizers leave the interpreter's lock while they
compute, and it costs neither a second start nor a second copy of the libraries.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from llm_repair.core.errors import StepCancelled
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judges.judging import score_texts
from llm_repair.evaluation.timing import Stopwatch

T = TypeVar("T")


@dataclass(frozen=True)
class TextScores:
    """What the judges say of one text, in their order."""

    scores: tuple[float | None, ...]
    """In [0, 1]; None where a judge gave none."""
    probabilities: tuple[tuple[float, ...] | None, ...]
    """By judge and label; None where a judge gave none."""


class JudgingThread:
    """Judges texts behind the caller's back, some of a batch in every one of so many threads that work for it.

    Equal texts are judged once in its life. Leaving its context stops what is being judged at the next part and forgets
    what waits.
    """

    def __init__(self, judges: Sequence[Judge], watch: Stopwatch, *, threads: int = 1) -> None:
        """Starts the thread; the time it spends judging goes to `judging_s`."""
        self._judges = judges
        self._threads = threads if threads > 1 else None
        self._watch = watch
        self._known: dict[str, TextScores] = {}
        self._leaving = threading.Event()
        self._failed: Future[Any] | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="judging")

    def __enter__(self) -> JudgingThread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._executor.shutdown(cancel_futures=True)

    def scores(self, texts: Sequence[str]) -> Future[list[TextScores]]:
        """Has texts judged after all that was handed over before.

        The future raises `JudgeUnavailable`, or `StepCancelled` when the thread is left before it comes to an end.
        """
        if not self._judges:
            nothing: Future[list[TextScores]] = Future()
            nothing.set_result([TextScores((), ())] * len(texts))
            return nothing
        return self._submit(lambda: self._scores(texts))

    def work(self, work: Callable[[Callable[[], None]], T]) -> Future[T]:
        """Has other work of the judges done in its turn; it is given what to call now and then, which may raise."""
        return self._submit(lambda: self._timed(work))

    def remember(self, known: Mapping[str, TextScores]) -> None:
        """Takes over what was judged before; texts that are handed over later are looked for in it."""
        self._submit(lambda: self._known.update(known))

    def raise_if_failed(self) -> None:
        """Raises what went wrong in the thread, if anything did; cheap."""
        if self._failed is not None:
            self._failed.result()

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future = self._executor.submit(work)
        future.add_done_callback(self._note_failure)
        return future

    def _note_failure(self, future: Future[T]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._failed = self._failed or future

    def _timed(self, work: Callable[[Callable[[], None]], T]) -> T:
        with self._watch.part("judging_s"):
            return work(self._raise_if_leaving)

    def _scores(self, texts: Sequence[str]) -> list[TextScores]:
        unknown = sorted(set(texts) - self._known.keys())
        if unknown:
            self._known.update(zip(unknown, self._timed(lambda beat: self._judged(unknown, beat)), strict=True))
        return [self._known[text] for text in texts]

    def _judged(self, texts: Sequence[str], beat: Callable[[], None]) -> list[TextScores]:
        judgements = [
            score_texts(judge, texts, threads=self._threads, beat=lambda done: beat()) for judge in self._judges
        ]
        return [
            TextScores(
                tuple(judgement.scores[index] for judgement in judgements),
                tuple(_row(judgement.probabilities[index].tolist()) for judgement in judgements),
            )
            for index in range(len(texts))
        ]

    def _raise_if_leaving(self) -> None:
        if self._leaving.is_set():
            raise StepCancelled


def _row(probabilities: Sequence[float]) -> tuple[float, ...] | None:
    return None if any(math.isnan(value) for value in probabilities) else tuple(probabilities)
