"""The step graph of a request: which steps it has, and which of them can run now.

Pure: a function of the resolved request and of the results so far, so that after a crash the same steps with the
same keys come out again.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_repair.coordinator.arms import Arm, arm_named, arms
from llm_repair.coordinator.evaluation_steps import (
    BASE,
    REPAIRED,
    plan_arm_comparison,
    plan_comparison,
    plan_evaluation,
    plan_overlap,
)
from llm_repair.coordinator.graph import Graph, PlannedStep
from llm_repair.coordinator.inputs import dataset_inputs, model_inputs
from llm_repair.coordinator.selection_steps import plan_selection, pool_digest
from llm_repair.core import steps
from llm_repair.core.evaluation import StrictProtocol
from llm_repair.core.execution import StepResult
from llm_repair.core.presets import resolved_method
from llm_repair.core.repairs import RepairGoal, RepairSpec


def plan(
    spec: RepairSpec, resolved: Mapping[str, str], results: Mapping[str, StepResult], dossier_digest: str = ""
) -> tuple[PlannedStep, ...]:
    """Returns all steps of a request, in the order in which they are to run.

    Args:
      spec: The request, with every default and every judge's pinned digest filled in.
      resolved: Content digest or commit of every reference.
      results: Results so far, by step name.
      dossier_digest: What the report is made of; empty until everything it needs is there.
    """
    graph = Graph(results)
    _imports(graph, spec, resolved)
    match spec.goal:
        case RepairGoal.SELECTION:
            plan_selection(graph, spec)
        case RepairGoal.EVALUATION:
            _measurement(graph, spec)
            graph.add("report", steps.ReportStep, dossier_digest=dossier_digest)
        case RepairGoal.REPAIR:
            _repair(graph, spec)
            graph.add("report", steps.ReportStep, dossier_digest=dossier_digest)
            _publication(graph, spec)
    return tuple(graph.planned)


def _imports(graph: Graph, spec: RepairSpec, resolved: Mapping[str, str]) -> None:
    # Rows first: what is wrong with them shows before a model is fetched.
    for rows in dataset_inputs(spec):
        digest = resolved[rows.source.reference]
        graph.add(rows.step, steps.ImportDatasetStep, source=rows.source, source_digest=digest, rows=rows.rows)
    for model in model_inputs(spec):
        digest = resolved[model.source.reference]
        graph.add(model.step, steps.ImportModelStep, source=model.source, source_digest=digest, role=model.role)


def _measurement(graph: Graph, spec: RepairSpec) -> None:
    """Plans the evaluation of a model, and that of its baseline before it."""
    if spec.baseline:
        plan_evaluation(graph, spec, BASE, graph.output("import.baseline", "model"))
    plan_evaluation(graph, spec, REPAIRED, graph.output("import.model", "model"))
    plan_comparison(graph, spec, "compare", BASE if spec.baseline else None, REPAIRED)


def _repair(graph: Graph, spec: RepairSpec) -> None:
    plan_evaluation(graph, spec, BASE, graph.output("import.model", "model"))
    plan_selection(graph, spec)
    plan_overlap(graph, spec)
    _utility(graph, spec)
    main, *_ = arms(spec)
    for arm in arms(spec):
        _train_and_measure(graph, spec, arm)
    if control := arm_named(spec, "control"):
        plan_arm_comparison(graph, spec, main, control)


def _utility(graph: Graph, spec: RepairSpec) -> None:
    """Plans the texts of a KL term, where none were brought: the model's own samples."""
    if spec.utility or not spec.needs_utility:
        return
    assert spec.method is not None
    method = resolved_method(spec.method)
    graph.add(
        "utility",
        steps.SampleTextsStep,
        model_digest=graph.output("import.model", "model"),
        engine=spec.evaluation.engine,
        texts=method.utility_texts,
        max_new_tokens=method.utility_tokens,
        top_p=StrictProtocol().top_p,
        temperature=StrictProtocol().temperature,
        seed=spec.seed,
    )


def _train_and_measure(graph: Graph, spec: RepairSpec, arm: Arm) -> None:
    assert spec.method is not None
    utility = graph.output("import.utility" if spec.utility else "utility", "dataset")
    graph.add(
        arm.step("repair"),
        steps.RepairStep,
        model_digest=graph.output("import.model", "model"),
        pool_digest=pool_digest(spec, graph.results),
        selection_digest=graph.output(arm.step("select"), "selection"),
        method=resolved_method(spec.method),
        seed=spec.seed,
        **({"utility_digest": utility} if spec.needs_utility else {}),
    )
    plan_evaluation(graph, spec, arm.evaluation, graph.output(arm.step("repair"), "model"))
    plan_comparison(graph, spec, arm.step("compare"), BASE, arm.evaluation)


def _publication(graph: Graph, spec: RepairSpec) -> None:
    assert spec.model is not None
    graph.add(
        "publish",
        steps.PublishStep,
        model_digest=graph.output("repair", "model"),
        report_digest=graph.output("report", "report"),
        source=spec.model.reference,
    )
