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

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator.plan import arms, choice_of, evaluated_as, judge_name, pool_digest
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.core.execution import StepResult, Usage
from llm_repair.core.gate import GatePolicy, GateResult, evaluate_gate
from llm_repair.core.metrics import Metric, metric_from_json
from llm_repair.core.references import normalized
from llm_repair.core.registry import STRATEGIES, name_of
from llm_repair.core.repairs import SelfGeneratedPool
from llm_repair.core.steps import to_json

SCHEMA_VERSION: Final = 1


class DossierWriter:
    """Writes dossiers into the store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def write(self, record: RepairRecord) -> tuple[str, str]:
        """Returns the digest of a repair's dossier and the name of its verdict."""
        return await asyncio.to_thread(self._write, record)

    async def gate(self, record: RepairRecord, policy: GatePolicy) -> tuple[GateResult, Sequence[Metric]]:
        """Evaluates a policy against a repair's metrics."""
        metrics, confidence = await asyncio.to_thread(self._metrics, record)
        return evaluate_gate(policy, metrics, confidence=confidence), metrics

    def _write(self, record: RepairRecord) -> tuple[str, str]:
        metrics, confidence = self._metrics(record)
        gate = evaluate_gate(record.spec.gate, metrics, confidence=confidence)
        dossier = {
            "schema_version": SCHEMA_VERSION,
            "repair": {
                "name": record.name,
                "create_time": record.created,
                "start_time": record.started,
                "spec": to_json(record.spec),
                "resolved": dict(record.resolved),
                "seed": record.spec.seed,
            },
            "gate": _gate_to_json(gate, confidence),
            "gating_judge": judge_name(record.spec.evaluation.judges[0]),
            "pool_judge": _pool_judge(record),
            "pool": _pool(record),
            "evaluations": _evaluations(record),
            "arms": [_arm(record, arm) for arm in arms(record.spec)],
            "control_comparison": _digest(record.results, "compare.arms", "comparison"),
            "overlap": self._overlap(record),
            "steps": [_step(step) for step in record.steps if step.result],
            "usage": to_json(_total(record.steps)),
            "timing": _timing(record),
        }
        blob = self._store.put_bytes(json.dumps(dossier, sort_keys=True, allow_nan=False).encode())
        return blob.digest, gate.verdict.name

    def _metrics(self, record: RepairRecord) -> tuple[list[Metric], float]:
        comparison = json.loads(self._store.get_bytes(record.results["compare"].outputs["comparison"].digest))
        return [metric_from_json(metric) for metric in comparison["metrics"]], comparison["confidence"]

    def _overlap(self, record: RepairRecord) -> dict[str, int]:
        """Counts prompts that are both trained on and measured; the same after normalisation counts as the same."""
        results = record.results
        pool = {normalized(row.prompt) for row in read_rows(self._store, pool_digest(record.spec, results))}
        prompts_digest = results["import.prompts"].outputs["dataset"].digest
        prompts = {normalized(row.prompt) for row in read_rows(self._store, prompts_digest)}
        return {"pool_prompts": len(pool), "evaluation_prompts": len(prompts), "shared": len(pool & prompts)}


def _gate_to_json(gate: GateResult, confidence: float) -> dict[str, Any]:
    return {
        "verdict": gate.verdict.name,
        "confidence": confidence,
        "criteria": [
            {
                "metric": entry.criterion.metric,
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


def _pool(record: RepairRecord) -> dict[str, Any]:
    step = "pool" if isinstance(record.spec.pool, SelfGeneratedPool) else "import.pool"
    return {"digest": pool_digest(record.spec, record.results), "summary": record.results[step].summary}


def _evaluations(record: RepairRecord) -> dict[str, str | None]:
    results = record.results
    return {
        "base": _digest(results, "evaluate.base", "evaluation"),
        "repaired": _digest(results, "evaluate.repaired", "evaluation"),
        "control": _digest(results, "evaluate.control", "evaluation"),
    }


def _arm(record: RepairRecord, arm: str) -> dict[str, Any]:
    results = record.results
    return {
        "role": arm.removeprefix(".") or "repaired",
        "strategy": "random" if arm else name_of(STRATEGIES, choice_of(record.spec).kind),
        "selection": _digest(results, f"select{arm}", "selection"),
        "selection_summary": results[f"select{arm}"].summary,
        "map": _digest(results, f"select{arm}", "map"),
        "curve": _digest(results, f"repair{arm}", "curve"),
        "repair_summary": results[f"repair{arm}"].summary,
        "weights_digest": results[f"repair{arm}"].summary["weights_digest"],
        "evaluation_summary": results[evaluated_as(arm)].summary,
        "comparison": _digest(results, f"compare{arm}", "comparison"),
        "records": _digest(results, f"compare{arm}", "records"),
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
