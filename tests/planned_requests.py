"""Plays the coordinator on a request: executes its steps one by one, each leaving its key as what it made."""

from __future__ import annotations

from llm_repair.coordinator.plan import plan
from llm_repair.core.execution import Artifact, StepResult, Usage
from llm_repair.core.repairs import RepairSpec
from llm_repair.core.steps import Step, step_key

ROLES = {
    "import_model": "model",
    "import_dataset": "dataset",
    "build_pool": "pool",
    "sample_texts": "dataset",
    "embed": "embeddings",
    "score": "scores",
    "judge_pool": "scores",
    "select": "selection",
    "overlap": "overlap",
    "repair": "model",
    "evaluate": "evaluation",
    "compare": "comparison",
    "report": "report",
    "publish": "model",
}
"""What each kind of step makes."""


class Resolved(dict[str, str]):
    """Resolves every reference to a digest of its own."""

    def __missing__(self, reference: str) -> str:
        return f"sha256:{reference}"


RESOLVED = Resolved()


def run(spec: RepairSpec) -> list[tuple[str, Step]]:
    """Executes the first ready step again and again, and returns what was executed.

    The dossier is written when only the report is left, and what needs that.
    """
    results: dict[str, StepResult] = {}
    executed: list[tuple[str, Step]] = []
    dossier = ""
    while True:
        planned = plan(spec, RESOLVED, results, dossier)
        waiting = [entry for entry in planned if entry.name not in results]
        if not waiting:
            return executed
        ready = next((entry for entry in waiting if entry.step), None)
        if ready is None:
            assert not dossier
            assert [entry.name for entry in waiting if entry.name != "publish"] == ["report"]
            dossier = "sha256:dossier"
            continue
        assert ready.step is not None
        executed.append((ready.name, ready.step))
        key = step_key(ready.step)
        results[ready.name] = StepResult(key, ready.kind, {ROLES[ready.kind]: Artifact(key, 1)}, {}, Usage(), {})


def names(executed: list[tuple[str, Step]]) -> list[str]:
    """Returns the names of the steps, in the order of their execution."""
    return [name for name, _ in executed]
