"""Examples before and after: the worst regressions and the best improvements, masked until the reader asks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import JsonObject, number_at, text_at
from llm_repair.evaluation.report.records import PromptChange, PromptScores, Side, best_first, worst_first

SHOWN = 4
"""Of each kind: enough to see a pattern, few enough to be read."""
LISTED = 12
"""Prompts that got worse, by id: as many as a person will look at."""
LONGEST_TEXT = 1200
"""Characters: several times what a protocol generates; the rest of a longer text is counted."""


@dataclass(frozen=True)
class Texts:
    """Prompts and outputs; they stand in the page only, never in report.json or Markdown."""

    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    """By prompt id."""
    base: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    """By prompt id and draw."""
    repaired: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])


@dataclass(frozen=True)
class Part:
    """One text of an example."""

    label: str
    text: str
    score: str = ""
    """Of the gating judge."""


@dataclass(frozen=True)
class Example:
    """One prompt with the outputs of one draw."""

    prompt_id: str
    parts: tuple[Part, ...]
    change: str
    """Of the mean over all draws of the prompt; its mean where there is one side only."""


@dataclass(frozen=True)
class RegressionRow:
    """One prompt that got worse."""

    prompt_id: str
    group: str
    before: str
    after: str
    change: str
    toxic_before: str
    """Toxic outputs of all: `3 of 25`."""
    toxic_after: str


def outputs(generations: Sequence[JsonObject]) -> Mapping[tuple[str, int], str]:
    """Returns the texts of an evaluation by prompt id and draw."""
    return {
        (text_at(line, "prompt_id"), int(number_at(line, "draw") or 0)): text_at(line, "text") for line in generations
    }


def regressions(found: Sequence[PromptChange], texts: Texts, labels: tuple[str, str]) -> tuple[Example, ...]:
    """Returns the prompts whose outputs became most toxic, worst first; `labels` name the sides."""
    return tuple(_example(item, texts, labels, sign=1) for item in worst_first(found)[:SHOWN])


def improvements(found: Sequence[PromptChange], texts: Texts, labels: tuple[str, str]) -> tuple[Example, ...]:
    """Returns the prompts whose outputs became least toxic, best first; `labels` name the sides."""
    return tuple(_example(item, texts, labels, sign=-1) for item in best_first(found)[:SHOWN])


def most_toxic(scores: Sequence[PromptScores], texts: Texts) -> tuple[Example, ...]:
    """Returns the prompts with the most toxic outputs of one model alone, worst first."""
    known = [(mean, item) for item in scores if (mean := item.mean("repaired")) is not None and mean > 0]
    worst = sorted(known, key=lambda pair: (-pair[0], pair[1].prompt_id))[:SHOWN]
    return tuple(_single(item, mean, texts) for mean, item in worst)


def regression_rows(found: Sequence[PromptChange]) -> tuple[RegressionRow, ...]:
    """Returns the prompts that got most toxic, worst first, by id and without their texts."""
    return tuple(
        RegressionRow(
            item.scores.prompt_id,
            item.scores.group,
            formats.decimal(item.before, 2),
            formats.decimal(item.after, 2),
            formats.signed(item.change, 2),
            _toxic_of(item.scores, "base"),
            _toxic_of(item.scores, "repaired"),
        )
        for item in worst_first(found)[:LISTED]
    )


def mask(text: str) -> str:
    """Replaces every visible character, so that only the length of the words can be seen."""
    return re.sub(r"\S", "█", text)


def _toxic_of(scores: PromptScores, side: Side) -> str:
    return f"{scores.toxic(side)} of {len(scores.known(side))}"


def _example(item: PromptChange, texts: Texts, labels: tuple[str, str], *, sign: int) -> Example:
    draw, before, after = _most_changed(item.scores, sign)
    key = item.scores.prompt_id, draw
    return Example(
        item.scores.prompt_id,
        (
            Part("Prompt", _shown(texts.prompts.get(item.scores.prompt_id, ""))),
            Part(labels[0], _shown(texts.base.get(key, "")), _score(before)),
            Part(labels[1], _shown(texts.repaired.get(key, "")), _score(after)),
        ),
        f"mean change {formats.signed(item.change, 2)}",
    )


def _single(item: PromptScores, mean: float, texts: Texts) -> Example:
    scores = item.repaired
    draw = max(range(len(scores)), key=lambda index: -1.0 if (score := scores[index]) is None else score)
    return Example(
        item.prompt_id,
        (
            Part("Prompt", _shown(texts.prompts.get(item.prompt_id, ""))),
            Part("Output", _shown(texts.repaired.get((item.prompt_id, draw), "")), _score(scores[draw])),
        ),
        f"mean {formats.decimal(mean, 2)}",
    )


def _most_changed(item: PromptScores, sign: int) -> tuple[int, float | None, float | None]:
    """Returns the draw whose score changed most; where no draw was scored on both sides, the first."""
    draws = [
        (index, before, after)
        for index, (before, after) in enumerate(zip(item.base, item.repaired, strict=False))
        if before is not None and after is not None
    ]
    first = (0, item.base[0] if item.base else None, item.repaired[0] if item.repaired else None)
    return max(draws, key=lambda draw: sign * (draw[2] - draw[1]), default=first)


def _score(score: float | None) -> str:
    return "no score" if score is None else formats.decimal(score, 2)


def _shown(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}… ({formats.whole(len(text) - LONGEST_TEXT)} characters more)"
