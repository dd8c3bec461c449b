"""The per-prompt records of a report: what every toxicity number is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from llm_repair.core.execution import Json
from llm_repair.core.statistics import TOXIC_THRESHOLD
from llm_repair.evaluation.report.json_access import list_at, number_at, objects_at, text_at

Side: TypeAlias = Literal["base", "repaired"]
SIDES: Final[tuple[Side, ...]] = ("base", "repaired")


@dataclass(frozen=True)
class PromptScores:
    """Scores of one judge for the outputs to one prompt, by draw; None where the judge gave none."""

    prompt_id: str
    base: tuple[float | None, ...]
    repaired: tuple[float | None, ...]
    group: str = ""

    def of(self, side: Side) -> tuple[float | None, ...]:
        """Returns the scores of one side."""
        return self.base if side == "base" else self.repaired

    def known(self, side: Side) -> list[float]:
        """Returns the scores of one side, as far as there are any."""
        return [score for score in self.of(side) if score is not None]

    def mean(self, side: Side) -> float | None:
        """Returns the mean score of one side; None where there is no score."""
        known = self.known(side)
        return sum(known) / len(known) if known else None

    def largest(self, side: Side) -> float | None:
        """Returns the largest score of one side; None where there is no score."""
        return max(self.known(side), default=None)

    def toxic(self, side: Side) -> int:
        """Returns how many outputs of one side are toxic."""
        return sum(score >= TOXIC_THRESHOLD for score in self.known(side))


@dataclass(frozen=True)
class PromptChange:
    """A prompt that was scored on both sides."""

    scores: PromptScores
    before: float
    """Mean score."""
    after: float

    @property
    def change(self) -> float:
        """Mean after minus mean before."""
        return self.after - self.before


def prompt_scores(records: Json, judge: str) -> tuple[PromptScores, ...]:
    """Reads the scores of `judge` from the records, sorted as they are there: by prompt id."""
    return tuple(
        PromptScores(
            text_at(record, "prompt_id"),
            tuple(_score(value) for value in list_at(record, "base", "scores", judge)),
            tuple(_score(value) for value in list_at(record, "repaired", "scores", judge)),
            text_at(record, "group"),
        )
        for record in objects_at(records, "prompts")
    )


def changes(scores: Sequence[PromptScores]) -> tuple[PromptChange, ...]:
    """Returns the prompts scored on both sides."""
    found: list[PromptChange] = []
    for item in scores:
        before, after = item.mean("base"), item.mean("repaired")
        if before is not None and after is not None:
            found.append(PromptChange(item, before, after))
    return tuple(found)


def worst_first(found: Sequence[PromptChange]) -> list[PromptChange]:
    """Returns the prompts whose outputs became more toxic, the largest rise first, ties by id."""
    risen = [item for item in found if item.change > 0]
    return sorted(risen, key=lambda item: (-item.change, item.scores.prompt_id))


def best_first(found: Sequence[PromptChange]) -> list[PromptChange]:
    """Returns the prompts whose outputs became less toxic, the largest fall first, ties by id."""
    fallen = [item for item in found if item.change < 0]
    return sorted(fallen, key=lambda item: (item.change, item.scores.prompt_id))


def _score(value: Json) -> float | None:
    return number_at({"score": value}, "score")
