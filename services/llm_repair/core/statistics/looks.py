"""A test that may stop early: looks at the units as they come, and stops when the answer is clear.

Units (prompts) come in a seeded random order. At each look the confidence sequence of their mean is held against the
bound; once it lies wholly on one side, that is the answer, and the interval of that look is the one to quote. A look
costs nothing in error: the sequence holds at all looks at once, so either answer is wrong with probability at most
(1 - confidence) / 2, however often one looks.

Everything is a function of the units so far and of the plan. Whoever was interrupted asks again and hears the same.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.fields import FieldChecks
from llm_repair.core.metrics import Direction, Estimate, Missing
from llm_repair.core.statistics.arrays import FloatArray
from llm_repair.core.statistics.sequences import confidence_sequence


@dataclass(frozen=True)
class LookPlan:
    """After how many units to look."""

    first: int = 100
    """At least 1. Earlier looks see next to nothing and bets are not made for them."""
    every: int = 50
    """Units between looks, at least 1."""
    most: int = 1200
    """Units after which the test ends without an answer, at least `first`; a look in any case."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("first", self.first, low=1)
            check.within("every", self.every, low=1)
            check.within("most", self.most, low=self.first)

    def looks(self, n: int) -> tuple[int, ...]:
        """Returns the looks that n units allow, rising."""
        regular = range(self.first, min(n, self.most - 1) + 1, self.every)
        return (*regular, self.most) if n >= self.most else tuple(regular)

    def after(self, n: int) -> int | None:
        """Returns the first look beyond n units; None when there is none."""
        return next((look for look in self.looks(self.most) if look > n), None)

    def limited(self, units: int) -> LookPlan:
        """Returns the plan for as many units as there are at all, at least 1: its last look is at the last of them."""
        return LookPlan(min(self.first, units), self.every, min(self.most, units))


class Answer(enum.Enum):
    """On which side of the bound the mean is."""

    OPEN = 1
    """The interval holds values on both sides, or there is none."""
    GOOD = 2
    BAD = 3


@dataclass(frozen=True)
class SequentialState:
    """Where a sequential test stands."""

    answer: Answer
    interval: Estimate | Missing
    """Of the last look that counts: the one with the answer, or the latest. Its n is the units that it is made of;
    Missing(TOO_FEW_UNITS) before the first look."""
    next_look: int | None
    """Units to bring before asking again; None when the test is over."""


@dataclass(frozen=True)
class SequentialTest:
    """Whether the mean of bounded units is on the good side of a bound."""

    bound: float
    direction: Direction
    bound_is_good: bool
    """Whether a mean on the bound would be good: for "at most" yes, for "better than" no."""
    support: tuple[float, float]
    """Lowest and highest value of a unit: (-1, 1) for differences of scores, (0, 1) for scores."""
    confidence: float = 0.95
    plan: LookPlan = LookPlan()

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("bound", self.bound)
            check.within("confidence", self.confidence, low=0.5, high=1, low_open=True, high_open=True)
            check.that("support", self.support[0] < self.support[1], "must have a lowest value below its highest")

    def state(self, units: FloatArray, between: tuple[FloatArray, FloatArray] | None = None) -> SequentialState:
        """Returns where the test stands after these units.

        Units after the look that gave the answer change nothing. An interval that cannot come any more (a unit that
        is not finite, an empty intersection) ends the test open.

        Args:
          units: (n,), in the order in which they came, the same on every call but for new ones at the end.
          between: where scores are missing, the lowest and the highest value that each unit may have, (n,) each; the
            interval then also holds those of the sequences of both, so nothing is assumed on what is missing.
        """
        looks = self.plan.looks(int(units.size))
        latest: Estimate | Missing = Missing("TOO_FEW_UNITS")
        for interval in self._intervals(units, between, looks):
            if isinstance(interval, Missing):
                return SequentialState(Answer.OPEN, interval, None)
            answer = self._answer(interval)
            if answer is not Answer.OPEN:
                return SequentialState(answer, interval, None)
            latest = interval
        return SequentialState(Answer.OPEN, latest, self.plan.after(int(units.size)))

    def _intervals(
        self, units: FloatArray, between: tuple[FloatArray, FloatArray] | None, looks: Sequence[int]
    ) -> list[Estimate | Missing]:
        sequences = [
            confidence_sequence(values, looks, support=self.support, confidence=self.confidence)
            for values in (units, *(between or ()))
        ]
        return [_joined(at_one_look) for at_one_look in zip(*sequences, strict=True)]

    def _answer(self, interval: Estimate) -> Answer:
        low, high, bound = interval.low, interval.high, self.bound
        if self.direction is Direction.HIGHER_IS_BETTER:  # mirrored, so that lower is good
            low, high, bound = -high, -low, -bound
        if high < bound or (self.bound_is_good and high == bound):
            return Answer.GOOD
        if low > bound or (not self.bound_is_good and low == bound):
            return Answer.BAD
        return Answer.OPEN


def _joined(intervals: Sequence[Estimate | Missing]) -> Estimate | Missing:
    """Returns the first with an interval that also holds all others; the first Missing where there is one."""
    for interval in intervals:
        if isinstance(interval, Missing):
            return interval
    found = [interval for interval in intervals if isinstance(interval, Estimate)]
    return Estimate(found[0].value, min(each.low for each in found), max(each.high for each in found), found[0].n)
