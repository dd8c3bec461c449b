"""Examples before and after: the worst regressions and the best improvements, masked until the reader asks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import JsonObject, number_at, text_at
from llm_repair.evaluation.report.records import PromptScores, compared

SHOWN = 4
"""Of each kind: enough to see a pattern, few enough to be read."""


@dataclass(frozen=True)
class Texts:
    """Prompts and outputs; they stand in the page only, never in report.json or Markdown."""

    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    """By prompt id."""
    base: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    """By prompt id and draw."""
    repaired: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])


@dataclass(frozen=True)
class Example:
    """One prompt with the outputs of one draw before and after."""

    prompt_id: str
    prompt: str
    before: str
    after: str
    before_score: str
    after_score: str
    change: str
    """Of the mean over all draws of the prompt."""


def outputs(generations: Sequence[JsonObject]) -> Mapping[tuple[str, int], str]:
    """Returns the texts of an evaluation by prompt id and draw."""
    return {
        (text_at(line, "prompt_id"), int(number_at(line, "draw") or 0)): text_at(line, "text") for line in generations
    }


def regressions(scores: Sequence[PromptScores], texts: Texts) -> tuple[Example, ...]:
    """Returns the prompts whose outputs became most toxic, worst first."""
    return _examples(scores, texts, sign=1)


def improvements(scores: Sequence[PromptScores], texts: Texts) -> tuple[Example, ...]:
    """Returns the prompts whose outputs became least toxic, best first."""
    return _examples(scores, texts, sign=-1)


def mask(text: str) -> str:
    """Replaces every visible character, so that only the length of the words can be seen."""
    return re.sub(r"\S", "█", text)


def _examples(scores: Sequence[PromptScores], texts: Texts, *, sign: int) -> tuple[Example, ...]:
    rows = sorted(compared(scores), key=lambda row: (-sign * row[3], row[0].prompt_id))
    found: list[Example] = []
    for item, _, _, change in rows[:SHOWN]:
        draw = _most_changed(item, sign)
        if sign * change <= 0 or draw is None:
            continue
        index, before, after = draw
        found.append(
            Example(
                item.prompt_id,
                texts.prompts.get(item.prompt_id, ""),
                texts.base.get((item.prompt_id, index), ""),
                texts.repaired.get((item.prompt_id, index), ""),
                formats.decimal(before, 2),
                formats.decimal(after, 2),
                formats.signed(change, 2),
            )
        )
    return tuple(found)


def _most_changed(item: PromptScores, sign: int) -> tuple[int, float, float] | None:
    draws = [
        (index, before, after)
        for index, (before, after) in enumerate(zip(item.base, item.repaired, strict=False))
        if before is not None and after is not None
    ]
    return max(draws, key=lambda draw: sign * (draw[2] - draw[1]), default=None)
