"""Lets a judge score texts so that whatever goes wrong with a text is a missing score, never a clean one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.judge import Judge, Probabilities
from llm_repair.models.inference.threads import in_threads, in_turn

_PART_TEXTS: Final = 128
"""Texts handed over at once; also the longest time between two looks at cancellation."""
_PART_CHARACTERS: Final = 16_384
"""Characters handed over at once, of several texts: 128 long ones would keep a classifier busy for minutes."""
_TEXT_ERRORS: Final = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What judges raise over a text they cannot read; anything else is a defect and ends the step."""


@dataclass(frozen=True)
class Judgement:
    """What a judge says of some texts, in their order."""

    scores: tuple[float | None, ...]
    """In [0, 1]; None where the judge gave none twice."""
    probabilities: Probabilities
    """(texts, labels); rows of NaN where the score is missing."""


def judge_texts(
    judge: Judge, texts: Sequence[str], *, threads: int | None = None, beat: Callable[[int], None] = lambda done: None
) -> Judgement:
    """Scores every text as `score_texts` does, and refuses a judge that is silent.

    Raises:
      JudgeUnavailable: as `score_texts`, and when no text at all got a score.
    """
    judgement = score_texts(judge, texts, threads=threads, beat=beat)
    refuse_silence(judge.name, judgement.scores)
    return judgement


def score_texts(
    judge: Judge, texts: Sequence[str], *, threads: int | None = None, beat: Callable[[int], None] = lambda done: None
) -> Judgement:
    """Scores every text, equal texts once.

    A text whose score fails, or is not in [0, 1], is tried once more alone; what fails again is missing. Blank
    texts are scored like any other: whether they are harmless is for the judge to say. What the judge sees together
    is a function of the set of texts, so a repetition on the same machine gives the same bits; texts that come in
    several batches get the scores that they would get all at once up to rounding.

    Args:
      judge: Who scores.
      texts: In any order; see `as_unicode`.
      threads: Each with texts of its own, so that no bit depends on how many there are; on busy cores a BERT takes less
        than half the processor time so. None for the calling thread, with as many to a product as the process has set.
      beat: Called with the number of distinct texts done; may raise in order to stop.

    Raises:
      JudgeUnavailable: the judge returns another number of rows than there are texts.
    """
    # By length, so that a part holds texts that need little padding beside each other.
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    rows = np.full((len(distinct), len(judge.labels)), np.nan)
    for part, scored in _scored_parts(judge, distinct, threads, beat):
        rows[part.start : part.stop] = scored
    toxicity = judge.toxicity(rows)
    by_text = {text: index for index, text in enumerate(distinct)}
    order = np.array([by_text[text] for text in texts], dtype=np.int64)
    scores = tuple(None if math.isnan(value) else float(value) for value in toxicity[order])
    return Judgement(scores, rows[order])


def refuse_silence(judge: str, scores: Sequence[float | None]) -> None:
    """Refuses a judge that gave none of the texts a score: that is no measurement.

    Raises:
      JudgeUnavailable: so it is; no texts at all are no silence.
    """
    if scores and all(score is None for score in scores):
        raise JudgeUnavailable(f"the judge {judge} gave no score to any of {len(scores)} texts", judge=judge)


def as_unicode(text: str) -> str:
    """Returns the text as judges get it: surrogates in pairs are joined, and one alone, no character, is U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _scored_parts(
    judge: Judge, texts: Sequence[str], threads: int | None, beat: Callable[[int], None]
) -> Iterator[tuple[range, Probabilities]]:
    def scored(part: range) -> Probabilities:
        return _scored(judge, [as_unicode(text) for text in texts[part.start : part.stop]])

    def look() -> None:
        beat(done)

    done = 0
    parts = list(_parts(texts))
    calls = [functools.partial(scored, part) for part in parts]
    results = in_turn(calls, beat=look) if threads is None else in_threads(calls, threads, beat=look)
    for part, rows in zip(parts, results, strict=True):
        done = part.stop
        yield part, rows


def _parts(texts: Sequence[str]) -> Iterator[range]:
    """Yields places of texts that are judged together."""
    start = characters = 0
    for place, text in enumerate(texts):
        if place - start == _PART_TEXTS or (place > start and characters + len(text) > _PART_CHARACTERS):
            yield range(start, place)
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield range(start, len(texts))


def _scored(judge: Judge, texts: Sequence[str]) -> Probabilities:
    rows = _attempt(judge, texts)
    for index, valid in enumerate(_valid(rows)):
        if valid:
            continue
        again = _attempt(judge, [texts[index]])
        rows[index] = again[0] if _valid(again)[0] else np.nan
    return rows


def _attempt(judge: Judge, texts: Sequence[str]) -> Probabilities:
    try:
        rows = np.array(judge.probabilities(texts), dtype=np.float64)
    except _TEXT_ERRORS:
        # Which text it was is found by asking for each alone.
        return np.full((len(texts), len(judge.labels)), np.nan)
    if rows.shape != (len(texts), len(judge.labels)):
        raise JudgeUnavailable(
            f"the judge {judge.name} returned {rows.shape} values for {len(texts)} texts of {len(judge.labels)} labels",
            judge=judge.name,
        )
    return rows


def _valid(rows: Probabilities) -> list[bool]:
    # False for NaN too.
    return [bool(((row >= 0.0) & (row <= 1.0)).all()) for row in rows]
