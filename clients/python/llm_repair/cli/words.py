"""How values read on a terminal: names, durations, numbers with intervals."""

from __future__ import annotations

import re
from typing import Final

from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ROUNDING: Final = 1e-12
"""What is smaller is nothing: of metrics, which are differences of numbers about 1."""


def plain(text: str) -> str:
    """Returns a server's text without control characters, which could rewrite the terminal."""
    return _CONTROL.sub("�", text)


def verdict(value: pb.Verdict) -> str:
    """Returns PASS, FAIL or INCONCLUSIVE; `none` where there is no verdict."""
    return "none" if value == pb.VERDICT_UNSPECIFIED else pb.Verdict.Name(value).removeprefix("VERDICT_")


def repair_state(value: pb.RepairState) -> str:
    """Returns the state's name, such as RUNNING."""
    return pb.RepairState.Name(value).removeprefix("REPAIR_STATE_")


def goal(value: pb.RepairGoal) -> str:
    """Returns how far a request goes: `repair`, `selection` or `evaluation`."""
    return {pb.REPAIR_GOAL_SELECTION: "selection", pb.REPAIR_GOAL_EVALUATION: "evaluation"}.get(value, "repair")


def criterion(value: pb.Criterion) -> str:
    """Returns what a criterion is on: its metric, and whether every group counts by itself."""
    by_group = value.slice == pb.CRITERION_SLICE_EACH_GROUP
    return f"{plain(value.metric)} (each group)" if by_group else plain(value.metric)


def size(count: int) -> str:
    """Returns a number of bytes as `812 kB`, `143 MB` or `2.35 GB`."""
    if count < 1_000_000:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < 1_000_000_000 else f"{count / 1e9:.2f} GB"


def duration(seconds: float) -> str:
    """Returns seconds as `3.2 s`, `4 min 05 s` or `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def short_name(name: str) -> str:
    """Returns the last part of a resource name."""
    return name.rpartition("/")[2]


def metric(value: types_pb2.Metric) -> str:
    """Returns the id of a metric, and the group it is over."""
    return plain(f"{value.id} [{value.slice}]" if value.slice else value.id)


def interval(value: types_pb2.Quantity) -> str:
    """Returns a value with its interval, or why there is none."""
    if value.WhichOneof("quantity") != "estimate":
        return value.missing_reason or "missing"
    estimate = value.estimate
    return f"{_number(estimate.value)} [{_number(estimate.low)}, {_number(estimate.high)}]"


def quantity(value: types_pb2.Quantity) -> str:
    """Returns a value, or why there is none."""
    if value.WhichOneof("quantity") != "estimate":
        return value.missing_reason or "missing"
    return _number(value.estimate.value)


def change(metric: types_pb2.Metric) -> str:
    """Returns the paired change with its interval; × marks a ratio, seq the interval of a sequence."""
    if metric.change.WhichOneof("quantity") != "estimate":
        return metric.change.missing_reason or "missing"
    estimate = metric.change.estimate
    of_sequence = " seq" if metric.interval == types_pb2.INTERVAL_KIND_SEQUENCE else ""
    if metric.change_kind == types_pb2.CHANGE_KIND_RATIO:
        return f"×{_number(estimate.value)} [{_number(estimate.low)}, {_number(estimate.high)}]{of_sequence}"
    value, low, high = (_number(number, "+") for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]{of_sequence}"


def _number(value: float, sign: str = "") -> str:
    """Returns four digits; what is left where two equal numbers were subtracted is 0."""
    return f"{0.0 if abs(value) < _ROUNDING else value:{sign}.4g}"
