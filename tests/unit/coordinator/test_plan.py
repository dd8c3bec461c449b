"""The step graph: what a repair needs, in which order, and what it shares."""

import dataclasses

import pytest

from llm_repair.coordinator.plan import plan
from llm_repair.core import steps
from llm_repair.core.evaluation import Corpus, Evaluation, HatesonarJudge, Judge, ProfanityJudge
from llm_repair.core.execution import Artifact, StepResult, Usage
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.core.repairs import PoolRows, RepairSpec, SelfGeneratedPool
from llm_repair.core.selection import Budget, FractionBudget, RandomStrategy, SapsStrategy, SelectionStrategy
from llm_repair.core.steps import Step, step_key

SPEC = RepairSpec(
    model=ModelRef("file:/model"),
    encoder=ModelRef("file:/encoder"),
    pool=SelfGeneratedPool(DatasetRef("file:/prompts.jsonl")),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(SapsStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=Evaluation(
        DatasetRef("file:/eval.jsonl"),
        judges=(Judge(ProfanityJudge(), "sha256:pin"), Judge(HatesonarJudge(ModelRef("file:/sonar")))),
        corpora=(Corpus("wiki", DatasetRef("file:/wiki.jsonl")),),
    ),
)
REFERENCES = ("model", "encoder", "prompts.jsonl", "eval.jsonl", "sonar", "wiki.jsonl", "rows.jsonl")
RESOLVED = {f"file:/{name}": f"sha256:{name}" for name in REFERENCES}
ROLES = {
    "import_model": "model",
    "import_dataset": "dataset",
    "build_pool": "pool",
    "embed": "embeddings",
    "select": "selection",
    "repair": "model",
    "evaluate": "evaluation",
    "compare": "comparison",
    "report": "report",
    "publish": "model",
}


def run(spec: RepairSpec) -> list[tuple[str, Step]]:
    """Plays a coordinator: executes the first ready step again and again, and returns what it executed."""
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
            assert [entry.name for entry in waiting] == ["report", "publish"]
            dossier = "sha256:dossier"
            continue
        assert ready.step is not None
        executed.append((ready.name, ready.step))
        key = step_key(ready.step)
        results[ready.name] = StepResult(key, ready.kind, {ROLES[ready.kind]: Artifact(key, 1)}, {}, Usage(), {})


def names(executed: list[tuple[str, Step]]) -> list[str]:
    return [name for name, _ in executed]


def test_every_step_runs_after_what_it_needs() -> None:
    order = names(run(SPEC))

    for before, after in [
        ("import.model", "evaluate.base"),
        ("import.judge.hatesonar", "evaluate.base"),
        ("import.corpus.wiki", "evaluate.base"),
        ("import.pool_prompts", "pool"),
        ("pool", "embed"),
        ("import.encoder", "embed"),
        ("embed", "select"),
        ("select", "repair"),
        ("repair", "evaluate.repaired"),
        ("evaluate.repaired", "compare"),
        ("compare", "compare.arms"),
        ("evaluate.control", "compare.arms"),
        ("compare.arms", "report"),
        ("report", "publish"),
    ]:
        assert order.index(before) < order.index(after)


def test_base_and_repaired_model_are_measured_alike() -> None:
    executed = dict(run(SPEC))
    measured = [executed[name] for name in ("evaluate.base", "evaluate.repaired", "evaluate.control")]

    same = [dataclasses.replace(step, model_digest="") for step in measured]  # type: ignore[type-var]

    assert same[0] == same[1] == same[2]
    assert len({step.model_digest for step in measured}) == 3  # type: ignore[union-attr]


def test_the_control_arm_differs_in_its_selection_only() -> None:
    executed = dict(run(SPEC))
    main, control = executed["repair"], executed["repair.control"]

    assert isinstance(main, steps.RepairStep)
    assert isinstance(control, steps.RepairStep)
    assert main.selection_digest != control.selection_digest
    assert dataclasses.replace(main, selection_digest="") == dataclasses.replace(control, selection_digest="")


def test_another_strategy_shares_everything_but_its_own_arm() -> None:
    other = dataclasses.replace(SPEC, selection=SelectionStrategy(SapsStrategy(boundary_fraction=0.5)))

    keys = [{name: step_key(step) for name, step in run(spec)} for spec in (SPEC, other)]

    differing = {name for name in keys[0] if keys[0][name] != keys[1][name]}
    assert differing == {"select", "repair", "evaluate.repaired", "compare", "compare.arms", "publish"}


@pytest.mark.parametrize(
    "spec",
    [
        dataclasses.replace(SPEC, selection=SelectionStrategy(RandomStrategy())),
        dataclasses.replace(SPEC, random_control=False),
    ],
    ids=["random itself", "not wanted"],
)
def test_there_is_no_control_arm_when_it_says_nothing(spec: RepairSpec) -> None:
    assert not [name for name in names(run(spec)) if name.endswith((".control", ".arms"))]


def test_random_selection_needs_no_encoder() -> None:
    spec = dataclasses.replace(SPEC, selection=SelectionStrategy(RandomStrategy()), encoder=None)

    assert not {"import.encoder", "embed"} & set(names(run(spec)))


def test_a_pool_that_the_team_brings_is_imported_and_not_built() -> None:
    spec = dataclasses.replace(SPEC, pool=PoolRows(DatasetRef("file:/rows.jsonl")))

    order = names(run(spec))

    assert "import.pool" in order
    assert "pool" not in order


def test_a_changed_source_is_another_step() -> None:
    changed = {**RESOLVED, "file:/model": "sha256:changed"}

    first, second = (
        next(entry.step for entry in plan(SPEC, resolved, {}) if entry.name == "import.model")
        for resolved in (RESOLVED, changed)
    )

    assert first is not None
    assert second is not None
    assert step_key(first) != step_key(second)
