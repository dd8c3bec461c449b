"""The steps that measure: evaluations of the models, their comparisons, and prompts that are in the pool too."""

from __future__ import annotations

from collections.abc import Iterable

from llm_repair.coordinator.arms import Arm, full_arm
from llm_repair.coordinator.graph import Graph
from llm_repair.coordinator.selection_steps import imported_judges, pool_digest
from llm_repair.core import steps
from llm_repair.core.overlap import NEAR_DUPLICATE_FROM
from llm_repair.core.probes import BiasPairs, ClozeSet, PromptSet
from llm_repair.core.repairs import RepairSpec
from llm_repair.core.selection import TextView

BASE = "evaluate.base"
REPAIRED = "evaluate.repaired"


def plan_evaluation(graph: Graph, spec: RepairSpec, name: str, model_digest: str) -> None:
    """Plans the measurement of a model; that of the repaired one ends early where the gate is sequential.

    Controls are measured whole, so that they have every prompt at which the repaired model's measurement may stop.
    """
    evaluation, judges = spec.evaluation, imported_judges(graph, spec)
    corpora = tuple(
        steps.CorpusArtifact(corpus.name, graph.output(f"import.corpus.{corpus.name}", "dataset"), corpus.layout)
        for corpus in evaluation.corpora
    )
    probes = {
        field: _imported(graph, step, entries)
        for field, step, entries in (
            ("cloze_sets", "cloze", evaluation.cloze_sets),
            ("bias_pairs", "bias", evaluation.bias_pairs),
            ("prompt_sets", "prompt_set", evaluation.prompt_sets),
        )
    }
    sequential = _sequential_stop(graph, spec) if name == REPAIRED else None
    calibrated = {"calibration_digest": graph.output("import.calibration", "dataset")} if evaluation.calibration else {}
    graph.add(
        name,
        steps.EvaluateStep,
        model_digest=model_digest,
        prompts_digest=graph.output("import.prompts", "dataset"),
        corpora=corpora,
        judges=judges,
        protocol=evaluation.protocol,
        engine=evaluation.engine,
        seed=spec.seed,
        sequential=sequential,
        **probes,
        **calibrated,
    )
    named = [artifact for artifacts in probes.values() for artifact in artifacts]
    graph.hold_back_until(*(entry.digest for entry in (*judges, *corpora, *named)))
    if sequential:
        graph.hold_back_until(sequential.base_evaluation_digest)


def plan_comparison(graph: Graph, spec: RepairSpec, name: str, base: str | None, repaired: str) -> None:
    """Plans the comparison of two evaluations, or of one alone where `base` is None."""
    full = full_arm(spec)
    reference = {"full_evaluation_digest": graph.output(full.evaluation, "evaluation")} if full else {}
    graph.add(
        name,
        steps.CompareStep,
        base_evaluation_digest=None if base is None else graph.output(base, "evaluation"),
        repaired_evaluation_digest=graph.output(repaired, "evaluation"),
        confidence=spec.gate.confidence,
        seed=spec.seed,
        **reference,
    )


def plan_arm_comparison(graph: Graph, spec: RepairSpec, main: Arm, control: Arm) -> None:
    """Plans the comparison of the main arm with a control, which takes the place of the base model."""
    graph.add(
        "compare.arms",
        steps.CompareStep,
        base_evaluation_digest=graph.output(control.evaluation, "evaluation"),
        repaired_evaluation_digest=graph.output(main.evaluation, "evaluation"),
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )


def plan_overlap(graph: Graph, spec: RepairSpec) -> None:
    """Plans the search for prompts that are both trained on and measured; near duplicates where there is an encoder."""
    pool, prompts = pool_digest(spec, graph.results), graph.output("import.prompts", "dataset")
    embeddings: dict[str, object] = {}
    if spec.encoder:
        for name, digest in (("embed.pool_prompts", pool), ("embed.prompts", prompts)):
            encoder = graph.output("import.encoder", "model")
            graph.add(name, steps.EmbedStep, pool_digest=digest, encoder_digest=encoder, text_view=TextView.PROMPT)
        embeddings = {
            "pool_embeddings_digest": graph.output("embed.pool_prompts", "embeddings"),
            "prompts_embeddings_digest": graph.output("embed.prompts", "embeddings"),
        }
    graph.add(
        "overlap",
        steps.OverlapStep,
        pool_digest=pool,
        prompts_digest=prompts,
        min_similarity=NEAR_DUPLICATE_FROM,
        **embeddings,
    )


def _imported(
    graph: Graph, step: str, entries: Iterable[ClozeSet | BiasPairs | PromptSet]
) -> tuple[steps.DatasetArtifact, ...]:
    return tuple(
        steps.DatasetArtifact(entry.name, graph.output(f"import.{step}.{entry.name}", "dataset")) for entry in entries
    )


def _sequential_stop(graph: Graph, spec: RepairSpec) -> steps.SequentialStop | None:
    looks = spec.gate.sequential
    if looks is None:
        return None
    return steps.SequentialStop(
        base_evaluation_digest=graph.output(BASE, "evaluation"),
        bound=spec.gate.sequential_bound,
        confidence=spec.gate.confidence,
        first_look_prompts=looks.first_look_prompts,
        look_every_prompts=looks.look_every_prompts,
        bound_is_good=spec.gate.sequential_bound_is_good,
    )
