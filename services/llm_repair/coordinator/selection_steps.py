"""The steps that end in a selection: the pool, what strategies go by, and the choice of every arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from llm_repair.coordinator.arms import Arm, arms, choice_of
from llm_repair.coordinator.graph import Graph
from llm_repair.coordinator.inputs import judge_name, judge_source
from llm_repair.core import steps
from llm_repair.core.evaluation import Judge, StrictProtocol
from llm_repair.core.execution import StepResult
from llm_repair.core.repair import DaptMethod, RepairMethod
from llm_repair.core.repairs import PoolRows, RepairSpec, SelfGeneratedPool
from llm_repair.core.scoring import JUDGE_SCORES, scored_method, scoring_seed
from llm_repair.core.selection import (
    CcsStrategy,
    LearnabilityStrategy,
    Score,
    SelectionStrategy,
    Strategy,
    TextView,
    score_gone_by,
    view_ranked_by,
)


def plan_selection(graph: Graph, spec: RepairSpec) -> None:
    """Plans everything up to the selections of all arms."""
    _pool(graph, spec)
    _features(graph, spec)
    for arm in arms(spec):
        _select(graph, spec, arm)


def pool_digest(spec: RepairSpec, results: Mapping[str, StepResult]) -> str:
    """Returns the digest of the pool; empty until it is there."""
    graph = Graph(results)
    return graph.output("import.pool", "dataset") if isinstance(spec.pool, PoolRows) else graph.output("pool", "pool")


def imported_judges(graph: Graph, spec: RepairSpec) -> tuple[Judge, ...]:
    """Returns the judges with digests; one that is not imported yet has none."""
    return tuple(
        dataclasses.replace(judge, digest=graph.output(f"import.judge.{judge_name(judge)}", "model"))
        if judge_source(judge)
        else judge
        for judge in spec.judges
    )


def score_step(score: Score) -> str:
    """Returns the name of the step that makes a score."""
    return f"score.{score.name.lower()}"


def _pool(graph: Graph, spec: RepairSpec) -> None:
    if not isinstance(spec.pool, SelfGeneratedPool):
        return
    judge = imported_judges(graph, spec)[0]
    graph.add(
        "pool",
        steps.BuildPoolStep,
        model_digest=graph.output("import.model", "model"),
        prompts_digest=graph.output("import.pool_prompts", "dataset"),
        judge=judge,
        engine=spec.evaluation.engine,
        draws=spec.pool.draws,
        max_new_tokens=spec.pool.max_new_tokens,
        top_p=spec.pool.top_p,
        temperature=spec.pool.temperature,
        min_gap=spec.pool.min_gap,
        min_chosen_tokens=spec.pool.min_chosen_tokens,
        seed=spec.seed,
    )
    graph.hold_back_until(judge.digest)


def _features(graph: Graph, spec: RepairSpec) -> None:
    """Plans what the strategy goes by: embeddings of texts, scores of samples."""
    choice = choice_of(spec)
    if view := view_ranked_by(choice.ranking):
        _embed(graph, spec, "embed", view)
    for part in (*choice.filters, choice.ranking):
        match score_gone_by(part):
            case None:
                pass
            case Score.INSTANCE_HARDNESS:
                _instance_hardness(graph, spec)
            case score if score in JUDGE_SCORES:
                _judge_pool(graph, spec, score, part)
            case score:
                _score(graph, spec, score, part)


def _embed(graph: Graph, spec: RepairSpec, name: str, view: TextView) -> None:
    encoder = graph.output("import.encoder", "model")
    pool = pool_digest(spec, graph.results)
    graph.add(name, steps.EmbedStep, pool_digest=pool, encoder_digest=encoder, text_view=view)


def _score(graph: Graph, spec: RepairSpec, score: Score, part: Strategy) -> None:
    epochs = part.dynamics_epochs if isinstance(part, CcsStrategy) else 1
    method = scored_method(spec.method or RepairMethod(DaptMethod()), score, dynamics_epochs=epochs)
    graph.add(
        score_step(score),
        steps.ScoreStep,
        pool_digest=pool_digest(spec, graph.results),
        model_digest=graph.output("import.proxy" if spec.needs_proxy else "import.model", "model"),
        score=score,
        method=method,
        seed=scoring_seed(method, score, spec.seed),
    )


def _instance_hardness(graph: Graph, spec: RepairSpec) -> None:
    _embed(graph, spec, "embed.chosen", TextView.CHOSEN)
    _embed(graph, spec, "embed.rejected", TextView.REJECTED)
    graph.add(
        score_step(Score.INSTANCE_HARDNESS),
        steps.ScoreStep,
        pool_digest=pool_digest(spec, graph.results),
        score=Score.INSTANCE_HARDNESS,
        method=RepairMethod(DaptMethod()),
        seed=spec.seed,
        chosen_embeddings_digest=graph.output("embed.chosen", "embeddings"),
        rejected_embeddings_digest=graph.output("embed.rejected", "embeddings"),
    )


def _judge_pool(graph: Graph, spec: RepairSpec, score: Score, part: Strategy) -> None:
    judge, samples = imported_judges(graph, spec)[0], None
    if isinstance(part, LearnabilityStrategy):
        samples = steps.OwnSamples(
            model_digest=graph.output("import.model", "model"),
            engine=spec.evaluation.engine,
            draws=part.draws,
            max_new_tokens=part.max_new_tokens,
            top_p=StrictProtocol().top_p,
            temperature=StrictProtocol().temperature,
            failing_from=part.failing_from,
            seed=spec.seed,
        )
    pool = pool_digest(spec, graph.results)
    graph.add(score_step(score), steps.JudgePoolStep, pool_digest=pool, judge=judge, score=score, samples=samples)
    graph.hold_back_until(judge.digest, *([samples.model_digest] if samples else []))


def _select(graph: Graph, spec: RepairSpec, arm: Arm) -> None:
    features: dict[str, object] = {}
    if view_ranked_by(arm.strategy.ranking):
        features["embeddings_digest"] = graph.output("embed", "embeddings")
    if score := score_gone_by(arm.strategy.ranking):
        features["scores_digest"] = graph.output(score_step(score), "scores")
    filters = tuple(graph.output(score_step(score), "scores") for score in _filter_scores(arm.strategy))
    graph.add(
        arm.step("select"),
        steps.SelectStep,
        pool_digest=pool_digest(spec, graph.results),
        strategy=arm.strategy,
        budget=arm.budget,
        seed=spec.seed,
        filter_scores_digests=filters,
        **features,
    )
    graph.hold_back_until(*filters)


def _filter_scores(choice: SelectionStrategy) -> list[Score]:
    return [score for part in choice.filters if (score := score_gone_by(part))]
