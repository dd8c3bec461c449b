"""The per-prompt records of a report: what every toxicity number is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import list_at, number_at, objects_at, text_at

Arm: TypeAlias = Literal["base", "repaired"]


@dataclass(frozen=True)
class PromptScores:
    """Scores of one judge for the outputs to one prompt, by draw; None where the judge gave none."""

    prompt_id: str
    base: tuple[float | None, ...]
    repaired: tuple[float | None, ...]

    @property
    def base_mean(self) -> float | None:
        """Mean of the scores before, as far as there are any."""
        return _mean(self.base)

    @property
    def repaired_mean(self) -> float | None:
        """Mean of the scores after, as far as there are any."""
        return _mean(self.repaired)

    @property
    def change(self) -> float | None:
        """Mean after minus mean before; None where one of them is missing."""
        before, after = self.base_mean, self.repaired_mean
        return None if before is None or after is None else after - before


def prompt_scores(records: Json, judge: str) -> tuple[PromptScores, ...]:
    """Reads the scores of `judge` from the records, sorted as they are there: by prompt id."""
    return tuple(
        PromptScores(
            text_at(record, "prompt_id"),
            tuple(_score(value) for value in list_at(record, "base", "scores", judge)),
            tuple(_score(value) for value in list_at(record, "repaired", "scores", judge)),
        )
        for record in objects_at(records, "prompts")
    )


def compared(scores: Sequence[PromptScores]) -> tuple[tuple[PromptScores, float, float, float], ...]:
    """Returns the prompts scored on both sides, each with mean before, mean after and change."""
    rows: list[tuple[PromptScores, float, float, float]] = []
    for item in scores:
        before, after = item.base_mean, item.repaired_mean
        if before is not None and after is not None:
            rows.append((item, before, after, after - before))
    return tuple(rows)


def _score(value: Json) -> float | None:
    return number_at({"score": value}, "score")


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None
