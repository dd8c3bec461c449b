"""What the coordinator knows about a repair: the repair's row, its steps, and its numbered events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from llm_repair.core.execution import Artifact, Json, Progress, StepResult, Usage
from llm_repair.core.repairs import RepairSpec, RepairState, StepState

PARTIAL: Final = "partial"
"""Role of what a cancelled step left; the other outputs are those of a result."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a repair, as last seen."""

    name: str
    kind: str
    state: StepState = StepState.WAITING
    key: str = ""
    attempts: int = 0
    attempt: str = ""
    """Id of the latest attempt, by which a coordinator that comes back knows it again."""
    reused: bool = False
    usage: Usage = Usage()
    outputs: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])
    summary: Mapping[str, Json] = field(default_factory=dict[str, Json])
    provenance: Mapping[str, Json] = field(default_factory=dict[str, Json])
    notes: tuple[Mapping[str, Json], ...] = ()
    start_time: str = ""
    end_time: str = ""
    earlier_s: float = 0.0
    """Seconds that this repair waited for executions which were stopped, before `start_time`."""

    @property
    def result(self) -> StepResult | None:
        """The committed result; None before."""
        if self.state is not StepState.COMMITTED:
            return None
        return StepResult(self.key, self.kind, self.outputs, self.summary, self.usage, self.provenance)

    def reusing(self, result: StepResult | None) -> StepRecord:
        """Returns the record of a step whose result was there already; itself if it was not."""
        if result is None:
            return self
        return dataclasses.replace(
            self,
            state=StepState.COMMITTED,
            key=result.key,
            reused=True,
            usage=result.usage,
            outputs=result.outputs,
            summary=result.summary,
        )

    def put_back(self) -> StepRecord:
        """Returns the record of a step that was stopped and is to be executed again; what it consumed stays."""
        waited_s = (
            (datetime.now(UTC) - datetime.fromisoformat(self.start_time)).total_seconds() if self.start_time else 0
        )
        return dataclasses.replace(
            self, state=StepState.WAITING, start_time="", end_time="", earlier_s=self.earlier_s + waited_s
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the record as plain JSON."""
        return {**dataclasses.asdict(self), "state": self.state.name}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> StepRecord:
        """Inverse of `to_json`."""
        fields: dict[str, Any] = {
            **value,
            "state": StepState[value["state"]],
            "usage": Usage(**value["usage"]),
            "outputs": {role: Artifact(**artifact) for role, artifact in value["outputs"].items()},
            "notes": tuple(value["notes"]),
        }
        return StepRecord(**fields)


@dataclass(frozen=True)
class RepairRecord:
    """A repair as stored."""

    name: str
    spec: RepairSpec
    resolved: Mapping[str, str]
    state: RepairState
    created: str
    verdict: str = ""
    """Name of the gate's verdict; empty before the report."""
    error: Mapping[str, Any] | None = None
    """`reason`, `message`, `metadata` and `step` of the failure."""
    dossier_digest: str = ""
    started: str = ""
    ended: str = ""
    steps: tuple[StepRecord, ...] = ()
    fence: int = 0

    @property
    def results(self) -> dict[str, StepResult]:
        """Committed results by step name."""
        return {step.name: result for step in self.steps if (result := step.result)}

    def step(self, name: str) -> StepRecord | None:
        """Returns a step by name."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True)
class EventRecord:
    """A durable event."""

    sequence: int
    time: str
    kind: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Heartbeat:
    """Nothing happened for a while."""


@dataclass(frozen=True)
class StepProgress:
    """Latest progress of a running step."""

    step: str
    progress: Progress


Update = EventRecord | StepProgress | Heartbeat
