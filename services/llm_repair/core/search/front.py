"""The Pareto front over toxicity, perplexity and seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.search.arms import Outcome, placed

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """Where an arm lies on the three axes, finite; less is better on each."""

    toxicity: float
    perplexity: float
    seconds: float

    def dominates(self, other: Point) -> bool:
        """Whether it is nowhere worse and somewhere better."""
        nowhere_worse = (
            self.toxicity <= other.toxicity and self.perplexity <= other.perplexity and self.seconds <= other.seconds
        )
        return nowhere_worse and self != other


def point_of(outcome: Outcome) -> Point | None:
    """Returns where a trial places its arm; None if it has no place."""
    at = placed(outcome)
    if isinstance(at, Missing):
        return None
    toxicity, perplexity = at.change.toxicity, at.change.perplexity
    assert isinstance(toxicity, Estimate) and isinstance(perplexity, Estimate)
    return Point(toxicity.value, perplexity.value, at.seconds)


def dominators(points: Mapping[T, Point]) -> dict[T, T | None]:
    """Returns who dominates each: the first member of the front that does; None for the members themselves.

    Equal points do not dominate each other. Whatever is dominated is dominated by a member, since dominance is
    transitive and the points are few. O(n²).
    """
    front = [one for one, at in points.items() if not any(other.dominates(at) for other in points.values())]
    return {one: next((member for member in front if points[member].dominates(at)), None) for one, at in points.items()}
