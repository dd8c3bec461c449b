"""A measured number as the report shows it, and what a repair did to it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.execution import Json
from llm_repair.core.fields import FieldChecks


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


class IntervalKind(enum.Enum):
    """What an interval means."""

    FIXED = 1
    """A confidence interval for a number of units fixed beforehand."""
    SEQUENCE = 2
    """A member of a confidence sequence: it holds at whatever number of units the measurement stopped."""


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
    slice: str = ""
    """The group of units it is over; empty for all of them."""
    interval: IntervalKind = IntervalKind.FIXED
    """What the interval of `change` means."""


Quantity: TypeAlias = Estimate | Missing

_SIDES = ("base", "repaired", "change")


def metric_to_json(metric: Metric) -> dict[str, Json]:
    """Returns the metric as the report writes it.

    {id, protocol, base, repaired, change, change_kind, direction, judge, gating, slice, interval}; each of base,
    repaired and change is {value, low, high, n}, or null beside a sibling `base_reason` (`repaired_reason`,
    `change_reason`) that says why and is there only then. `metric_from_json` gives back an equal metric. An estimate
    that is not finite has no JSON number: it becomes null with the reason NOT_FINITE; the gate reads it so anyway.
    """
    fields: dict[str, Json] = {"id": metric.id, "protocol": metric.protocol}
    for side, quantity in zip(_SIDES, (metric.base, metric.repaired, metric.change), strict=True):
        fields |= _quantity_to_json(side, quantity)
    return fields | {
        "change_kind": metric.change_kind.value,
        "direction": metric.direction.name,
        "judge": metric.judge,
        "gating": metric.gating,
        "slice": metric.slice,
        "interval": metric.interval.name,
    }


def metric_from_json(fields: Mapping[str, Json]) -> Metric:
    """Returns the metric that `metric_to_json` wrote; one written before there were slices is over all units.

    Raises:
      InvalidFields: a key is absent, unknown or of the wrong type; all of them at once.
    """
    fields = {"slice": "", "interval": IntervalKind.FIXED.name, **fields}
    texts = ("id", "protocol", "judge", "change_kind", "direction", "slice", "interval")
    known = {*texts, "gating", *_SIDES, *(f"{s}_reason" for s in _SIDES)}
    with FieldChecks() as check:
        for name in texts:
            check.that(name, isinstance(fields.get(name), str), "must be a string")
        check.that("gating", isinstance(fields.get("gating"), bool), "must be a boolean")
        check.that("change_kind", fields.get("change_kind") in {kind.value for kind in ChangeKind}, "is not known")
        check.that("direction", fields.get("direction") in Direction.__members__, "is not known")
        check.that("interval", fields.get("interval") in IntervalKind.__members__, "is not known")
        for name in sorted(set(fields) - known):
            check.that(name, False, "is not a field of a metric")
        for side in _SIDES:
            check.that(side, _is_quantity(fields, side), f"must be {{value, low, high, n}}, or null with {side}_reason")
    base, repaired, change = (_quantity_from_json(fields, side) for side in _SIDES)
    return Metric(
        id=str(fields["id"]),
        protocol=str(fields["protocol"]),
        base=base,
        repaired=repaired,
        change=change,
        change_kind=ChangeKind(fields["change_kind"]),
        direction=Direction[str(fields["direction"])],
        judge=str(fields["judge"]),
        gating=bool(fields["gating"]),
        slice=str(fields["slice"]),
        interval=IntervalKind[str(fields["interval"])],
    )


def is_finite(estimate: Estimate) -> bool:
    """Returns whether value and both ends are numbers and in order; anything else counts as missing."""
    ends = (estimate.low, estimate.value, estimate.high)
    return all(math.isfinite(end) for end in ends) and estimate.low <= estimate.value <= estimate.high


def _quantity_to_json(side: str, quantity: Quantity) -> dict[str, Json]:
    if isinstance(quantity, Estimate) and not is_finite(quantity):
        quantity = Missing("NOT_FINITE")
    if isinstance(quantity, Missing):
        return {side: None, f"{side}_reason": quantity.reason}
    return {side: {"value": quantity.value, "low": quantity.low, "high": quantity.high, "n": quantity.n}}


def _is_quantity(fields: Mapping[str, Json], side: str) -> bool:
    quantity, reason = fields.get(side), fields.get(f"{side}_reason")
    if quantity is None:
        return side in fields and isinstance(reason, str) and bool(reason)
    if not isinstance(quantity, Mapping) or reason is not None:
        return False
    numbers = [quantity.get(name) for name in ("value", "low", "high")]
    return (
        set(quantity) == {"value", "low", "high", "n"}
        and all(_is_number(number) for number in numbers)
        and isinstance(quantity["n"], int)
        and not isinstance(quantity["n"], bool)
    )


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _quantity_from_json(fields: Mapping[str, Json], side: str) -> Quantity:
    match fields[side]:
        case {
            "value": int() | float() as value,
            "low": int() | float() as low,
            "high": int() | float() as high,
            "n": int() as n,
        }:
            return Estimate(float(value), float(low), float(high), n)
        case _:
            return Missing(str(fields[f"{side}_reason"]))
