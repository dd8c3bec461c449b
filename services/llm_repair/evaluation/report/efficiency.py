"""RES, reconstructed: how much repair a second bought, against repairing with the whole pool.

  RES_s = (OPS_s / OPS_F) (t_F / (t_selection + t_repair))

The first factor and its interval come with the comparison (`reconstructed.ops_ratio_to_full`); the times come from the
bill, so RES is put together here. t_F is the training of the full arm, t_selection whatever was embedded, scored and
ranked for the main arm, t_repair its training. A step that was reused counts at what it cost when it ran: what an
earlier job happened to leave says nothing about a strategy. Times were taken once and are noise; the interval is that
of the first factor alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.readings import MetricReading, find
from llm_repair.evaluation.report.stages import Stage, stage_of

OPS_RATIO = "reconstructed.ops_ratio_to_full"


@dataclass(frozen=True)
class Times:
    """Seconds behind RES; None where a step was not run, or did not record them."""

    full_s: float | None
    selection_s: float | None
    repair_s: float | None
    full_checkpoints_s: float | None
    repair_checkpoints_s: float | None

    @property
    def ratio(self) -> float | None:
        """How many times longer the full repair took; None where that cannot be told."""
        return _ratio(self.full_s, (self.selection_s, self.repair_s))

    @property
    def ratio_without_checkpoints(self) -> float | None:
        """The same without the seconds of writing checkpoints."""
        if self.full_checkpoints_s is None or self.repair_checkpoints_s is None:
            return None
        if self.full_s is None or self.repair_s is None:
            return None
        return _ratio(
            self.full_s - self.full_checkpoints_s, (self.selection_s, self.repair_s - self.repair_checkpoints_s)
        )


def efficiency(
    metrics: Sequence[MetricReading], steps: Sequence[JsonObject], *, is_full: bool = False
) -> Mapping[str, Json]:
    """Returns RES with and without checkpoints, each an estimate or null with a reason, and the times behind them."""
    times = times_of(steps, is_full=is_full)
    share = find(metrics, OPS_RATIO)
    has_times = times.ratio is not None
    return {
        **_scaled("res", share, times.ratio, "NO_TIME"),
        **_scaled(
            "res_without_checkpoints",
            share,
            times.ratio_without_checkpoints,
            "NO_CHECKPOINT_TIME" if has_times else "NO_TIME",
        ),
        "times": {
            "full_s": times.full_s,
            "selection_s": times.selection_s,
            "repair_s": times.repair_s,
            "full_checkpoints_s": times.full_checkpoints_s,
            "repair_checkpoints_s": times.repair_checkpoints_s,
        },
    }


def times_of(steps: Sequence[JsonObject], *, is_full: bool = False) -> Times:
    """Returns the times that RES needs from the steps of a job; `is_full`: its main arm has the whole pool itself."""
    by_name = {text_at(step, "name"): step for step in steps}
    full = by_name.get("repair.full") or (by_name.get("repair") if is_full else None)
    selecting = [step for step in steps if stage_of(text_at(step, "name")) is Stage.SELECTION]
    seconds = [number_at(step, "usage", "wall_s") for step in selecting]
    known = [value for value in seconds if value is not None]
    return Times(
        full_s=number_at(full, "usage", "wall_s"),
        selection_s=sum(known) if known and len(known) == len(seconds) else None,
        repair_s=number_at(by_name.get("repair"), "usage", "wall_s"),
        full_checkpoints_s=_checkpoints_s(full),
        repair_checkpoints_s=_checkpoints_s(by_name.get("repair")),
    )


def _checkpoints_s(step: JsonObject | None) -> float | None:
    """Returns the seconds of writing checkpoints; 0 where a training timed its parts and this was none of them."""
    timed = object_at(step, "summary", "seconds")
    return (number_at(timed, "checkpoints") or 0.0) if timed else None


def res_metrics(composites: JsonObject) -> tuple[tuple[str, JsonObject | None, str], ...]:
    """Returns (id, estimate, reason) of RES in both forms, as `report.json` holds them."""
    names = ("res", "res_without_checkpoints")
    found: list[tuple[str, JsonObject | None, str]] = []
    for name in names:
        estimates = objects_at({"one": [composites.get(name)]}, "one")
        found.append(
            (f"reconstructed.{name}", estimates[0] if estimates else None, text_at(composites, f"{name}_reason"))
        )
    return tuple(found)


def _scaled(name: str, share: MetricReading | None, ratio: float | None, without_time: str) -> dict[str, Json]:
    if share is None:
        return {name: None, f"{name}_reason": "NO_FULL_ARM"}
    value, low, high = share.repaired.value, share.repaired.low, share.repaired.high
    if value is None or low is None or high is None:
        return {name: None, f"{name}_reason": share.repaired.reason or "NOT_FINITE"}
    if ratio is None:
        return {name: None, f"{name}_reason": without_time}
    return {name: {"value": value * ratio, "low": low * ratio, "high": high * ratio, "n": share.repaired.n}}


def _ratio(full: float | None, parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    if full is None or len(known) != len(parts) or full <= 0 or sum(known) <= 0:
        return None
    return full / sum(known)
