"""The gate: criteria on metrics, and the verdict by interval against bound.

Pure, and called by the coordinator only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.fields import FieldChecks


@dataclass(frozen=True)
class AbsoluteRule:
    """The repaired model's value must be on the good side of `bound`."""

    bound: float


@dataclass(frozen=True)
class ChangeRule:
    """The paired change must be better than `bound`: for differences usually 0, for ratios 1."""

    bound: float


@dataclass(frozen=True)
class NonInferiorityRule:
    """The change may be worse than no change by at most `margin`.

    For a difference the bound is 0 ± margin, for a ratio 1 ± margin.
    """

    margin: float

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("margin", self.margin, low=0)


Rule: TypeAlias = AbsoluteRule | ChangeRule | NonInferiorityRule


class OnMissing(enum.Enum):
    """What a metric without a value means for its criterion."""

    FAIL = 1
    INCONCLUSIVE = 2


@dataclass(frozen=True)
class Criterion:
    """One requirement on one metric."""

    metric: str
    rule: Rule
    on_missing: OnMissing = OnMissing.FAIL

    def __post_init__(self) -> None:
        if not self.metric:
            raise InvalidFields([FieldViolation("metric", "must name a metric, such as toxicity.mean")])


@dataclass(frozen=True)
class GatePolicy:
    """All requirements; the verdict is the worst of theirs."""

    criteria: tuple[Criterion, ...] = ()
    """Empty: toxicity.mean must fall, every perplexity ratio must stay within 1.05, empties must not rise by 0.02."""
    confidence: float = 0.95
    """Of every interval, (0.5, 1)."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("confidence", self.confidence, low=0.5, high=1, low_open=True, high_open=True)


class Verdict(enum.Enum):
    """What the gate says; ordered from good to bad."""

    PASS = 1
    INCONCLUSIVE = 2
    FAIL = 3


@dataclass(frozen=True)
class CriterionVerdict:
    """The verdict on one criterion, with its reason in plain words."""

    criterion: Criterion
    verdict: Verdict
    reason: str
    """One sentence with the interval and the bound."""


@dataclass(frozen=True)
class GateResult:
    """The verdict of a policy on a report."""

    verdict: Verdict
    criteria: tuple[CriterionVerdict, ...]
