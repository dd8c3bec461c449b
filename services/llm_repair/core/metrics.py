"""A measured number as the report shows it, and what a repair did to it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    n: int
    """Number of independent units: prompts, documents or pairs."""


@dataclass(frozen=True)
class Missing:
    """There is no such number, and why. Never a zero."""

    reason: str
    """UPPER_SNAKE, such as `NO_FULL_ARM`, `ZERO_BASELINE` or `TOO_MANY_MISSING_SCORES`."""


class ChangeKind(enum.Enum):
    """How the change from base to repaired is expressed."""

    DIFFERENCE = "difference"
    """repaired - base."""
    RATIO = "ratio"
    """repaired / base."""


class Direction(enum.Enum):
    """Which way is better."""

    LOWER_IS_BETTER = 1
    HIGHER_IS_BETTER = 2


@dataclass(frozen=True)
class Metric:
    """One metric before and after, paired on the same prompts or documents."""

    id: str
    """Such as `toxicity.mean` or `perplexity.wikitext2.token`."""
    protocol: str
    """Protocol id; two metrics are comparable only under the same one."""
    base: Estimate | Missing
    repaired: Estimate | Missing
    change: Estimate | Missing
    change_kind: ChangeKind
    direction: Direction
    judge: str = ""
    """Name of the judge behind the number; empty where none is."""
    gating: bool = True
    """Whether the number may decide a gate; a second judge's may not."""
