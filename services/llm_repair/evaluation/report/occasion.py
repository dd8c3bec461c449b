"""What a report is about, and the words that fit: a repair, one model against another, or one model alone."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from llm_repair.evaluation.report.json_access import JsonObject, object_at, text_at


class Kind(enum.Enum):
    """What was measured."""

    REPAIR = "repair"
    """A model before and after its repair."""
    COMPARISON = "comparison"
    """A model against a baseline."""
    MEASUREMENT = "measurement"
    """One model alone."""


@dataclass(frozen=True)
class Occasion:
    """How a report speaks of what it measured."""

    kind: Kind
    noun: str
    """Of the request, such as `repair`."""
    tagline: str
    before: str
    after: str
    base: str
    """The model on the left, as it is written within a sentence."""
    repaired: str

    @property
    def is_repair(self) -> bool:
        """Whether something was trained."""
        return self.kind is Kind.REPAIR

    @property
    def has_base(self) -> bool:
        """Whether there are two sides."""
        return self.kind is not Kind.MEASUREMENT


REPAIR = Occasion(
    Kind.REPAIR,
    noun="repair",
    tagline="What a repair did to a language model, measured before and after",
    before="before",
    after="after",
    base="base model",
    repaired="repaired model",
)
COMPARISON = Occasion(
    Kind.COMPARISON,
    noun="evaluation",
    tagline="A language model against a baseline, measured prompt by prompt",
    before="baseline",
    after="model",
    base="baseline",
    repaired="model",
)
MEASUREMENT = Occasion(
    Kind.MEASUREMENT,
    noun="evaluation",
    tagline="What a language model does, measured",
    before="",
    after="model",
    base="",
    repaired="model",
)


def occasion_of(document: JsonObject) -> Occasion:
    """Returns what `report.json` is about."""
    if text_at(document, "goal") != "EVALUATION":
        return REPAIR
    return COMPARISON if "base" in object_at(document, "provenance", "evaluations") else MEASUREMENT
