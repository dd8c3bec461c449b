"""RES, reconstructed: how much repair a second bought, against repairing with the whole pool.

The definition is that of `core.composites`. What the records tell of it comes with the comparison
(`reconstructed.ops_ratio_to_full`); the times come from the bill, so RES is put together here. The full arm's time is
its training, the main arm's whatever was embedded, scored and ranked for it, and its training. A step that was reused
counts at what it cost when it ran: what an earlier job happened to leave says nothing about a strategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm_repair.core.composites import ArmSeconds, reconstructed_res
from llm_repair.core.execution import Json
from llm_repair.core.metrics import Estimate, Missing, Quantity, metric_from_json
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.stages import Stage, stage_of

OPS_RATIO = "reconstructed.ops_ratio_to_full"
RES, RES_WITHOUT_CHECKPOINTS = "res", "res_without_checkpoints"


@dataclass(frozen=True)
class Times:
    """Seconds behind RES; None where a step was not run, or did not record them."""

    full_s: float | None
    selection_s: float | None
    repair_s: float | None
    full_checkpoints_s: float | None
    repair_checkpoints_s: float | None

    @property
    def seconds(self) -> ArmSeconds | None:
        """What the arms took; None where that cannot be told."""
        if self.full_s is None or self.selection_s is None or self.repair_s is None:
            return None
        return ArmSeconds(self.selection_s, self.repair_s, self.full_s)

    @property
    def seconds_without_checkpoints(self) -> ArmSeconds | None:
        """The same without the writing of checkpoints."""
        whole = self.seconds
        if whole is None or self.full_checkpoints_s is None or self.repair_checkpoints_s is None:
            return None
        return ArmSeconds(
            whole.selection, whole.repair - self.repair_checkpoints_s, whole.full_repair - self.full_checkpoints_s
        )


def efficiency(
    metrics: Sequence[JsonObject], steps: Sequence[JsonObject], *, is_full: bool = False
) -> Mapping[str, Json]:
    """Returns RES with and without checkpoints, each an estimate or null with a reason, and the times behind them.

    Args:
      metrics: of the main arm's comparison.
      steps: of the job.
      is_full: whether the main arm has the whole pool itself.
    """
    times, share = times_of(steps, is_full=is_full), _share(metrics)
    untimed = Missing("NO_CHECKPOINT_TIME" if times.seconds else "NO_TIME")
    return {
        **_written(RES, _res(share, times.seconds, Missing("NO_TIME"))),
        **_written(RES_WITHOUT_CHECKPOINTS, _res(share, times.seconds_without_checkpoints, untimed)),
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


def res_metrics(composites: JsonObject) -> tuple[tuple[str, JsonObject | None, str], ...]:
    """Returns (id, estimate, reason) of RES in both forms, as `report.json` holds them."""
    found: list[tuple[str, JsonObject | None, str]] = []
    for name in (RES, RES_WITHOUT_CHECKPOINTS):
        estimates = objects_at({"one": [composites.get(name)]}, "one")
        reason = text_at(composites, f"{name}_reason")
        found.append((f"reconstructed.{name}", estimates[0] if estimates else None, reason))
    return tuple(found)


def _share(metrics: Sequence[JsonObject]) -> Quantity:
    """Returns OPS as a share of the full arm's."""
    found = next((metric for metric in metrics if text_at(metric, "id") == OPS_RATIO), None)
    return metric_from_json(found).repaired if found else Missing("NO_FULL_ARM")


def _res(share: Quantity, seconds: ArmSeconds | None, untimed: Missing) -> Quantity:
    if isinstance(share, Missing):
        return share
    return reconstructed_res(share, seconds) if seconds else untimed


def _written(name: str, res: Quantity) -> dict[str, Json]:
    if isinstance(res, Estimate):
        return {name: {"value": res.value, "low": res.low, "high": res.high, "n": res.n}}
    return {name: None, f"{name}_reason": res.reason}


def _checkpoints_s(step: JsonObject | None) -> float | None:
    """Returns the seconds of writing checkpoints; 0 where a training timed its parts and this was none of them."""
    timed = object_at(step, "summary", "seconds")
    return (number_at(timed, "checkpoints") or 0.0) if timed else None
