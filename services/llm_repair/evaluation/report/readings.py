"""Reads the metrics of a report: values with intervals, or the reason why there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.metrics import ChangeKind, Direction, IntervalKind, Missing, Quantity, metric_from_json
from llm_repair.evaluation.report.json_access import JsonObject
from llm_repair.evaluation.report.metric_names import Family, parse


@dataclass(frozen=True)
class Reading:
    """One side of a metric."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    """UPPER_SNAKE; set exactly when `value` is None."""


@dataclass(frozen=True)
class MetricReading:
    """A metric of a comparison as the report shows it."""

    id: str
    judge: str
    gating: bool
    change_kind: ChangeKind
    direction: Direction
    base: Reading
    repaired: Reading
    change: Reading
    slice: str = ""
    """The group of units it is over; empty for all of them."""
    is_sequence: bool = False
    """Whether the interval of the change is a member of a confidence sequence."""
    ignores_stop: bool = False
    """Whether its intervals are for a number of units fixed beforehand, though the data decided when to stop."""

    @property
    def no_change(self) -> float:
        """The change that means nothing happened: 0 for a difference, 1 for a ratio."""
        return 1.0 if self.change_kind is ChangeKind.RATIO else 0.0

    @property
    def relative_change(self) -> float | None:
        """Change as a share of the base value; None where the base is zero or missing."""
        if self.change_kind is ChangeKind.RATIO:
            return None if self.change.value is None else self.change.value - 1.0
        if self.change.value is None or not self.base.value:
            return None
        return self.change.value / self.base.value

    @property
    def lower_is_better(self) -> bool:
        """Whether a fall is good."""
        return self.direction is Direction.LOWER_IS_BETTER

    @property
    def is_separated(self) -> bool | None:
        """Whether the interval of the change leaves out no change; None without an interval that could tell."""
        low, high = self.change.low, self.change.high
        return None if low is None or high is None or self.ignores_stop else not low <= self.no_change <= high

    @property
    def is_better(self) -> bool | None:
        """Whether the change is for the better; None where its interval holds no change, or there is none."""
        if not self.is_separated or self.change.value is None:
            return None
        return (self.change.value < self.no_change) == self.lower_is_better


def read_metrics(metrics: Sequence[JsonObject]) -> tuple[MetricReading, ...]:
    """Reads the metrics in their order.

    Raises:
      InvalidFields: one of them is not a metric as `core.metrics` writes it.
    """
    read = [_metric(item) for item in metrics]
    if not any(metric.is_sequence for metric in read):
        return tuple(read)
    return tuple(
        dataclasses.replace(metric, ignores_stop=parse(metric.id).family in _STOPPED and not metric.is_sequence)
        for metric in read
    )


_STOPPED = (Family.TOXICITY, Family.ATTRIBUTE, Family.DEGENERACY)
"""Families on the prompts whose number an early stop decides."""


def find(metrics: Sequence[MetricReading], metric: str, *, judge: str = "", group: str = "") -> MetricReading | None:
    """Returns the metric with this id over all units or a group of them; None where there is none."""
    for item in metrics:
        if item.id == metric and item.slice == group and (not judge or item.judge == judge):
            return item
    return None


def _metric(item: JsonObject) -> MetricReading:
    metric = metric_from_json(item)
    return MetricReading(
        id=metric.id,
        judge=metric.judge,
        gating=metric.gating,
        change_kind=metric.change_kind,
        direction=metric.direction,
        base=_reading(metric.base),
        repaired=_reading(metric.repaired),
        change=_reading(metric.change),
        slice=metric.slice,
        is_sequence=metric.interval is IntervalKind.SEQUENCE,
    )


def _reading(quantity: Quantity) -> Reading:
    if isinstance(quantity, Missing):
        return Reading(None, reason=quantity.reason)
    return Reading(quantity.value, quantity.low, quantity.high, quantity.n)
