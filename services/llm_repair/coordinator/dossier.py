"""Writes the dossier: everything the report is told, in one JSON blob; the gate is called here.

The verdict, the bill and the time line exist only at the coordinator; the records they rest on stay in the
store and are named by digest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator.arms import Arm, arms
from llm_repair.coordinator.inputs import judge_name
from llm_repair.coordinator.measured_metrics import is_measured_alone, sequence_violations
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.coordinator.selection_steps import pool_digest
from llm_repair.coordinator.wire import spec_to_json
from llm_repair.core.errors import InvalidFields
from llm_repair.core.execution import Json, StepResult, Usage
from llm_repair.core.gate import GateResult, evaluate_gate
from llm_repair.core.metrics import Metric, metric_from_json
from llm_repair.core.policy import GatePolicy
from llm_repair.core.registry import STRATEGIES, name_of
from llm_repair.core.repairs import RepairGoal, SelfGeneratedPool
from llm_repair.core.steps import to_json

SCHEMA_VERSION: Final = 1


class DossierWriter:
    """Writes dossiers into the store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def write(self, record: RepairRecord) -> tuple[str, str]:
        """Returns the digest of a repair's dossier and the name of its verdict, empty where there is none."""
        return await asyncio.to_thread(self._write, record)

    async def gate(self, record: RepairRecord, policy: GatePolicy) -> tuple[GateResult | None, Sequence[Metric]]:
        """Evaluates a policy against a repair's metrics; see `judged`."""
        metrics, confidence = await asyncio.to_thread(self._metrics, record)
        return judged(record, policy, metrics, confidence), metrics

    def _write(self, record: RepairRecord) -> tuple[str, str]:
        metrics, confidence = self._metrics(record)
        gate = judged(record, record.spec.gate, metrics, confidence)
        dossier = {
            "schema_version": SCHEMA_VERSION,
            "goal": record.spec.goal.name,
            "repair": {
                "name": record.name,
                "create_time": record.created,
                "start_time": record.started,
                "spec": to_json(record.spec),
                "request": json.loads(spec_to_json(record.spec)),
                "resolved": dict(record.resolved),
                "seed": record.spec.seed,
            },
            "gate": _gate_to_json(gate, confidence) if gate else None,
            "gating_judge": judge_name(record.spec.evaluation.judges[0]),
            "pool_judge": _pool_judge(record),
            "pool": _pool(record),
            "evaluations": _evaluations(record),
            "arms": _arms(record),
            "control_comparison": _digest(record.results, "compare.arms", "comparison"),
            "overlap": self._overlap(record),
            "steps": [_step(step) for step in record.steps if step.result],
            "usage": to_json(_total(record.steps)),
            "timing": _timing(record),
        }
        blob = self._store.put_bytes(json.dumps(dossier, sort_keys=True, allow_nan=False).encode())
        return blob.digest, gate.verdict.name if gate else ""

    def _metrics(self, record: RepairRecord) -> tuple[list[Metric], float]:
        comparison = json.loads(self._store.get_bytes(record.results["compare"].outputs["comparison"].digest))
        return [metric_from_json(metric) for metric in comparison["metrics"]], comparison["confidence"]

    def _overlap(self, record: RepairRecord) -> Json:
        """Returns what the search for prompts in both pool and evaluation found; None where nothing was trained."""
        digest = _digest(record.results, "overlap", "overlap")
        return json.loads(self._store.get_bytes(digest)) if digest else None


def judged(record: RepairRecord, policy: GatePolicy, metrics: Sequence[Metric], confidence: float) -> GateResult | None:
    """Returns the verdict of a policy on the metrics of a repair or evaluation.

    One model alone has no verdict by a policy without criteria: those that are meant then are all on changes, of
    which it has none, so they would say FAIL of every model.

    Raises:
      InvalidFields: as `evaluate_gate`; or a criterion needs all prompts, and the measurement ended early.
    """
    if is_measured_alone(record.spec) and not policy.criteria:
        return None
    if violations := list(sequence_violations(record.spec, policy)):
        raise InvalidFields(violations)
    return evaluate_gate(policy, metrics, confidence=confidence)


def _gate_to_json(gate: GateResult, confidence: float) -> dict[str, Any]:
    return {
        "verdict": gate.verdict.name,
        "confidence": confidence,
        "criteria": [
            {
                "metric": entry.criterion.metric,
                "slice": entry.criterion.slice.name,
                "rule": to_json(entry.criterion.rule),
                "verdict": entry.verdict.name,
                "reason": entry.reason,
            }
            for entry in gate.criteria
        ],
    }


def _pool_judge(record: RepairRecord) -> str | None:
    self_made = isinstance(record.spec.pool, SelfGeneratedPool)
    return judge_name(record.spec.evaluation.judges[0]) if self_made else None


def _pool(record: RepairRecord) -> dict[str, Any] | None:
    if record.spec.pool is None:
        return None
    step = "pool" if isinstance(record.spec.pool, SelfGeneratedPool) else "import.pool"
    return {"digest": pool_digest(record.spec, record.results), "summary": record.results[step].summary}


def _evaluations(record: RepairRecord) -> dict[str, str | None]:
    roles = ("base", "repaired", "control", "full")
    return {role: _digest(record.results, f"evaluate.{role}", "evaluation") for role in roles}


def _arms(record: RepairRecord) -> list[dict[str, Any]]:
    """Returns what became of every arm; of an evaluation the measurement alone, in the place of the main arm's."""
    if record.spec.goal is RepairGoal.EVALUATION:
        return [{"role": "repaired", **_measured(record, "evaluate.repaired", "compare")}]
    return [_arm(record, arm) for arm in arms(record.spec)]


def _arm(record: RepairRecord, arm: Arm) -> dict[str, Any]:
    results = record.results
    selected, trained = arm.step("select"), arm.step("repair")
    return {
        "role": arm.role,
        "strategy": name_of(STRATEGIES, arm.strategy.kind),
        "selection": _digest(results, selected, "selection"),
        "selection_summary": results[selected].summary,
        "map": _digest(results, selected, "map"),
        "curve": _digest(results, trained, "curve"),
        "repair_summary": results[trained].summary,
        "weights_digest": results[trained].summary["weights_digest"],
        **_measured(record, arm.evaluation, arm.step("compare")),
    }


def _measured(record: RepairRecord, evaluation: str, comparison: str) -> dict[str, Any]:
    return {
        "evaluation_summary": record.results[evaluation].summary,
        "comparison": _digest(record.results, comparison, "comparison"),
        "records": _digest(record.results, comparison, "records"),
    }


def _digest(results: Mapping[str, StepResult], step: str, role: str) -> str | None:
    result = results.get(step)
    return result.outputs[role].digest if result and role in result.outputs else None


def _step(step: StepRecord) -> dict[str, Any]:
    value = step.to_json()
    del value["outputs"], value["attempt"]
    return value


def _total(steps: Sequence[StepRecord]) -> Usage:
    return sum((step.usage for step in steps if not step.reused), Usage())


def _timing(record: RepairRecord) -> dict[str, float]:
    """Returns the wall time of the repair so far, and of it the part in which an execution was starting or running."""
    started = datetime.fromisoformat(record.started)
    spans = sorted(
        (datetime.fromisoformat(step.start_time), datetime.fromisoformat(step.end_time))
        for step in record.steps
        if step.result
    )
    busy_s, until = sum(step.earlier_s for step in record.steps), started
    for start, end in spans:
        busy_s += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return {"wall_s": (datetime.now(UTC) - started).total_seconds(), "execution_s": busy_s}
