"""The nouns of a search: arms, the trials they are put to, and what came of them."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final, TypeAlias

from llm_repair.core.metrics import Estimate, Missing, Quantity, is_finite
from llm_repair.core.selection import FullStrategy, RandomStrategy, SelectionStrategy


@dataclass(frozen=True)
class Arm:
    """A repair that could be made: a strategy, and the share of the pool it may use, (0, 1]."""

    strategy: SelectionStrategy
    fraction: float


RANDOM: Final = SelectionStrategy(RandomStrategy())
"""The control at every fraction."""
FULL: Final = Arm(SelectionStrategy(FullStrategy()), 1.0)
"""The control that smaller fractions are held against."""


class Split(enum.Enum):
    """Which of two disjoint sets of evaluation prompts is measured on; see `splits`."""

    SELECTION = 1
    """Arms are chosen on these."""
    REPORT = 2
    """Seen once, when the choice is made: every number and every claim of the result is from these."""


@dataclass(frozen=True)
class Trial:
    """The repair of one arm, measured on the first `prompts` of a split.

    An arm is repaired once, and the prompts of its earlier trials on a split are among those of the later ones, so
    neither is to be done again. Perplexity is measured on the whole corpora of the split.
    """

    arm: Arm
    round: int
    """From 0."""
    split: Split
    prompts: int


@dataclass(frozen=True)
class Change:
    """How one model differs from another: paired by prompt and by document, two-sided intervals.

    NaN, infinite ends and ends out of order count as missing.
    """

    toxicity: Quantity
    """Difference of the mean; below 0 is less toxic."""
    perplexity: Quantity
    """Ratio, of the corpus on which it is largest; above 1 is worse."""


NOT_COMPARED: Final = Change(Missing("NOT_COMPARED"), Missing("NOT_COMPARED"))


@dataclass(frozen=True)
class Measured:
    """A trial that came to its end."""

    trial: Trial
    seconds: float
    """What the arm takes alone and with nothing cached: features, selection and repair; without evaluation."""
    change: Change
    """Against the base model."""
    against_random: Change = NOT_COMPARED
    """Against RANDOM at the same fraction; needed of all arms but the two controls on the report split."""
    against_full: Change = NOT_COMPARED
    """Against FULL; needed of all other arms on the report split."""


@dataclass(frozen=True)
class Failed:
    """A trial that will not come to its end."""

    trial: Trial
    reason: str
    """UPPER_SNAKE, never empty."""


Outcome: TypeAlias = Measured | Failed


def known(quantity: Quantity) -> Quantity:
    """Returns the quantity; Missing(NOT_FINITE) for an estimate that is none."""
    return Missing("NOT_FINITE") if isinstance(quantity, Estimate) and not is_finite(quantity) else quantity


def placed(outcome: Outcome) -> Measured | Missing:
    """Returns the trial if its arm has a place among others; why not if it failed or an axis is unknown."""
    if isinstance(outcome, Failed):
        return Missing(outcome.reason)
    for quantity in (outcome.change.toxicity, outcome.change.perplexity):
        if isinstance(unknown := known(quantity), Missing):
            return unknown
    return outcome if math.isfinite(outcome.seconds) and outcome.seconds >= 0 else Missing("NOT_FINITE")
