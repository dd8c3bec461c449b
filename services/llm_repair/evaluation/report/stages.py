"""The bill: which stage every step belongs to, and what it cost or would have cost."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, text_at


class Stage(enum.Enum):
    """The parts of a bill, in the order in which money is spent."""

    SET_UP = "set-up"
    """Downloads and imports: paid once per machine, so shown apart from the total."""
    POOL = "pool"
    SELECTION = "selection"
    REPAIR = "repair"
    EVALUATION = "evaluation"
    CONTROL = "control arm"
    """Everything that only the RANDOM control needed, its evaluation included."""
    FULL = "full arm"
    """Everything that only the repair on the whole pool needed, its evaluation included."""


@dataclass(frozen=True)
class StageCost:
    """What a stage cost in this repair, and what its reused steps had cost when they ran."""

    stage: Stage
    wall_s: float
    reused_wall_s: float
    cpu_s: float
    accelerator_s: float
    tokens: int
    steps: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        """Returns the entry of `usage.stages`."""
        return {
            "stage": self.stage.value,
            "wall_s": self.wall_s,
            "reused_wall_s": self.reused_wall_s,
            "cpu_s": self.cpu_s,
            "accelerator_s": self.accelerator_s,
            "tokens": self.tokens,
            "steps": list(self.steps),
        }


_OF_KIND = {
    "import": Stage.SET_UP,
    "pool": Stage.POOL,
    "embed": Stage.SELECTION,
    "score": Stage.SELECTION,
    "select": Stage.SELECTION,
    "utility": Stage.REPAIR,
    "repair": Stage.REPAIR,
}
_OF_ARM = {"control": Stage.CONTROL, "arms": Stage.CONTROL, "full": Stage.FULL}
_FOR_OVERLAP = ("embed.pool_prompts", "embed.prompts")
"""Embeddings that only the search for prompts seen in the repair needs: part of the measurement, not of selection."""


def stage_of(step: str) -> Stage:
    """Returns the stage of a step by its name, such as `evaluate.base`."""
    kind, _, rest = step.partition(".")
    if kind == "import":
        return Stage.SET_UP
    if step in _FOR_OVERLAP:
        return Stage.EVALUATION
    return _OF_ARM.get(rest) or _OF_KIND.get(kind, Stage.EVALUATION)


def costs_by_stage(steps: Sequence[JsonObject]) -> tuple[StageCost, ...]:
    """Returns the cost of every stage that has a step, in the order of `Stage`."""
    costs = (_cost(stage, [s for s in steps if stage_of(text_at(s, "name")) is stage]) for stage in Stage)
    return tuple(cost for cost in costs if cost.steps)


def total_s(costs: Sequence[StageCost], *, set_up: bool = False) -> float:
    """Returns the seconds spent in this repair, set-up left out unless asked for."""
    return sum(cost.wall_s for cost in costs if set_up or cost.stage is not Stage.SET_UP)


def _cost(stage: Stage, steps: Sequence[JsonObject]) -> StageCost:
    paid = [object_at(step, "usage") for step in steps if step.get("reused") is not True]
    reused = [object_at(step, "usage") for step in steps if step.get("reused") is True]
    return StageCost(
        stage=stage,
        wall_s=_sum(paid, "wall_s"),
        reused_wall_s=_sum(reused, "wall_s"),
        cpu_s=_sum(paid, "cpu_s"),
        accelerator_s=_sum(paid, "accelerator_s"),
        tokens=int(_sum(paid, "tokens")),
        steps=tuple(text_at(step, "name") for step in steps),
    )


def _sum(usages: Sequence[JsonObject], key: str) -> float:
    return sum(number_at(usage, key) or 0.0 for usage in usages)
