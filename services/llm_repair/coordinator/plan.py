"""The step graph of a repair: which steps it has, and which of them can run now.

Pure: a function of the resolved request and of the results so far, so that after a crash the same steps with the
same keys come out again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from llm_repair.core import steps
from llm_repair.core.evaluation import Judge, ProfanityJudge, StrictProtocol
from llm_repair.core.execution import StepResult
from llm_repair.core.presets import resolved_method
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef, ModelRole
from llm_repair.core.registry import JUDGES, name_of
from llm_repair.core.repair import DaptMethod, RepairMethod
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec, SelfGeneratedPool
from llm_repair.core.scoring import JUDGE_SCORES, scored_method, scoring_seed
from llm_repair.core.selection import (
    CcsStrategy,
    LearnabilityStrategy,
    RandomStrategy,
    Score,
    SelectionStrategy,
    Strategy,
    TextView,
    score_gone_by,
    view_ranked_by,
)
from llm_repair.core.steps import Step


@dataclass(frozen=True)
class PlannedStep:
    """One step of a repair."""

    name: str
    """Within the repair, such as `evaluate.base`."""
    kind: str
    step: Step | None
    """None until all inputs are there."""


def plan(
    spec: RepairSpec, resolved: Mapping[str, str], results: Mapping[str, StepResult], dossier_digest: str = ""
) -> tuple[PlannedStep, ...]:
    """Returns all steps of a repair, in the order in which they are to run.

    Args:
      spec: The request, with every default and every judge's pinned digest filled in.
      resolved: Content digest or commit of every reference.
      results: Results so far, by step name.
      dossier_digest: What the report is made of; empty until everything it needs is there.
    """
    graph = _Graph(results)
    _imports(graph, spec, resolved)
    if spec.goal is RepairGoal.REPAIR:
        _base_evaluation(graph, spec)
    _pool(graph, spec)
    _scores(graph, spec)
    _selections(graph, spec)
    if spec.goal is RepairGoal.SELECTION:
        return tuple(graph.planned)
    assert spec.model is not None
    _utility(graph, spec)
    for arm in arms(spec):
        _arm(graph, spec, arm)
    if has_control(spec):
        _compare(graph, spec, "compare.arms", "evaluate.control", "evaluate.repaired")
    graph.add("report", steps.ReportStep, dossier_digest=dossier_digest)
    graph.add(
        "publish",
        steps.PublishStep,
        model_digest=graph.output("repair", "model"),
        report_digest=graph.output("report", "report"),
        source=spec.model.reference,
    )
    return tuple(graph.planned)


def arms(spec: RepairSpec) -> tuple[str, ...]:
    """Returns the suffixes of the arms: the repair asked for, and its control if there is one."""
    return ("", ".control") if has_control(spec) else ("",)


def has_control(spec: RepairSpec) -> bool:
    """Whether RANDOM runs at the same budget for comparison; pointless when RANDOM itself was asked for."""
    wanted = spec.goal is RepairGoal.REPAIR and spec.random_control
    return wanted and not isinstance(choice_of(spec).kind, RandomStrategy)


def choice_of(spec: RepairSpec) -> SelectionStrategy:
    """Returns the strategy asked for."""
    assert isinstance(spec.selection, SelectionStrategy)
    return spec.selection


def judge_name(judge: Judge) -> str:
    """Returns the name a judge has in metric ids and step names."""
    return name_of(JUDGES, judge.kind)


def judge_source(judge: Judge) -> ModelRef | None:
    """Returns the reference of the judge's model; None where it is part of a pinned package."""
    return None if isinstance(judge.kind, ProfanityJudge) else judge.kind.model


def evaluated_as(arm: str) -> str:
    """Returns the name of the evaluation step of an arm."""
    return f"evaluate{arm or '.repaired'}"


class _Graph:
    """Collects steps; a step with an input that is not there yet is planned without its spec."""

    def __init__(self, results: Mapping[str, StepResult]) -> None:
        self.results = results
        self.planned: list[PlannedStep] = []

    def output(self, name: str, role: str) -> str:
        """Returns the digest of what a step made; empty until it is committed."""
        result = self.results.get(name)
        return result.outputs[role].digest if result else ""

    def add(self, name: str, kind: type[Step], **inputs: object) -> None:
        """Plans a step; inputs named `…_digest` must be there before it can run."""
        waits = any(field.endswith("_digest") and not value for field, value in inputs.items())
        self.planned.append(PlannedStep(name, kind.kind, None if waits else kind(**inputs)))  # pyright: ignore[reportCallIssue, reportArgumentType]

    def hold_back(self) -> None:
        """Makes the step planned last wait, for an input inside one of its values."""
        self.planned[-1] = dataclasses.replace(self.planned[-1], step=None)


def _imports(graph: _Graph, spec: RepairSpec, resolved: Mapping[str, str]) -> None:
    def model(name: str, source: ModelRef, role: ModelRole) -> None:
        digest = resolved[source.reference]
        graph.add(name, steps.ImportModelStep, source=source, source_digest=digest, role=role)

    def rows(name: str, source: DatasetRef, kind: DatasetKind) -> None:
        digest = resolved[source.reference]
        graph.add(name, steps.ImportDatasetStep, source=source, source_digest=digest, rows=kind)

    # Rows first: what is wrong with them shows before a model is fetched.
    if isinstance(spec.pool, PoolRows):
        rows("import.pool", spec.pool.rows, spec.pool_kind)
    elif spec.pool:
        rows("import.pool_prompts", spec.pool.prompts, DatasetKind.PROMPTS)
    if spec.goal is RepairGoal.REPAIR:
        assert spec.evaluation.prompts is not None
        rows("import.prompts", spec.evaluation.prompts, DatasetKind.PROMPTS)
        for corpus in spec.evaluation.corpora:
            rows(f"import.corpus.{corpus.name}", corpus.texts, spec.evaluation.rows_of(corpus))
    if spec.utility and spec.needs_utility:
        rows("import.utility", spec.utility, DatasetKind.TEXTS)
    if spec.model and spec.needs_model:
        model("import.model", spec.model, ModelRole.CAUSAL_LM)
    if spec.proxy and spec.needs_proxy:
        model("import.proxy", spec.proxy, ModelRole.CAUSAL_LM)
    if spec.encoder and spec.needs_encoder:
        model("import.encoder", spec.encoder, ModelRole.ENCODER)
    for judge in spec.judges:
        if source := judge_source(judge):
            model(f"import.judge.{judge_name(judge)}", source, ModelRole.JUDGE)


def _judges(graph: _Graph, spec: RepairSpec) -> tuple[Judge, ...]:
    """Returns the judges with digests; one that is not imported yet has none."""
    return tuple(
        dataclasses.replace(judge, digest=graph.output(f"import.judge.{judge_name(judge)}", "model"))
        if judge_source(judge)
        else judge
        for judge in spec.judges
    )


def _evaluate(graph: _Graph, spec: RepairSpec, name: str, model_digest: str) -> None:
    judges = _judges(graph, spec)
    corpora = tuple(
        steps.CorpusArtifact(corpus.name, graph.output(f"import.corpus.{corpus.name}", "dataset"), corpus.layout)
        for corpus in spec.evaluation.corpora
    )
    graph.add(
        name,
        steps.EvaluateStep,
        model_digest=model_digest,
        prompts_digest=graph.output("import.prompts", "dataset"),
        corpora=corpora,
        judges=judges,
        protocol=spec.evaluation.protocol,
        engine=spec.evaluation.engine,
        seed=spec.seed,
    )
    if not all(judge.digest for judge in judges) or not all(corpus.digest for corpus in corpora):
        graph.hold_back()


def _base_evaluation(graph: _Graph, spec: RepairSpec) -> None:
    _evaluate(graph, spec, "evaluate.base", graph.output("import.model", "model"))


def _pool(graph: _Graph, spec: RepairSpec) -> None:
    if not isinstance(spec.pool, SelfGeneratedPool):
        return
    judge = _judges(graph, spec)[0]
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
    if not judge.digest:
        graph.hold_back()


def pool_digest(spec: RepairSpec, results: Mapping[str, StepResult]) -> str:
    """Returns the digest of the pool; empty until it is there."""
    graph = _Graph(results)
    return graph.output("import.pool", "dataset") if isinstance(spec.pool, PoolRows) else graph.output("pool", "pool")


def _scores(graph: _Graph, spec: RepairSpec) -> None:
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


def _embed(graph: _Graph, spec: RepairSpec, name: str, view: TextView) -> None:
    encoder = graph.output("import.encoder", "model")
    pool = pool_digest(spec, graph.results)
    graph.add(name, steps.EmbedStep, pool_digest=pool, encoder_digest=encoder, text_view=view)


def _score(graph: _Graph, spec: RepairSpec, score: Score, part: Strategy) -> None:
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


def _instance_hardness(graph: _Graph, spec: RepairSpec) -> None:
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


def _judge_pool(graph: _Graph, spec: RepairSpec, score: Score, part: Strategy) -> None:
    judge, samples = _judges(graph, spec)[0], None
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
    if not judge.digest or (samples and not samples.model_digest):
        graph.hold_back()


def score_step(score: Score) -> str:
    """Returns the name of the step that makes a score."""
    return f"score.{score.name.lower()}"


def _selections(graph: _Graph, spec: RepairSpec) -> None:
    choice = choice_of(spec)
    common = {"pool_digest": pool_digest(spec, graph.results), "budget": spec.budget, "seed": spec.seed}
    features: dict[str, object] = {}
    if view_ranked_by(choice.ranking):
        features["embeddings_digest"] = graph.output("embed", "embeddings")
    if score := score_gone_by(choice.ranking):
        features["scores_digest"] = graph.output(score_step(score), "scores")
    filters = tuple(graph.output(score_step(score), "scores") for score in _filter_scores(choice))
    graph.add("select", steps.SelectStep, strategy=choice, filter_scores_digests=filters, **features, **common)
    if not all(filters):
        graph.hold_back()
    if has_control(spec):
        graph.add("select.control", steps.SelectStep, strategy=SelectionStrategy(RandomStrategy()), **common)


def _filter_scores(choice: SelectionStrategy) -> list[Score]:
    return [score for part in choice.filters if (score := score_gone_by(part))]


def _utility(graph: _Graph, spec: RepairSpec) -> None:
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


def _arm(graph: _Graph, spec: RepairSpec, arm: str) -> None:
    assert spec.method is not None
    utility = graph.output("import.utility" if spec.utility else "utility", "dataset")
    graph.add(
        f"repair{arm}",
        steps.RepairStep,
        model_digest=graph.output("import.model", "model"),
        pool_digest=pool_digest(spec, graph.results),
        selection_digest=graph.output(f"select{arm}", "selection"),
        method=resolved_method(spec.method),
        seed=spec.seed,
        **({"utility_digest": utility} if spec.needs_utility else {}),
    )
    _evaluate(graph, spec, evaluated_as(arm), graph.output(f"repair{arm}", "model"))
    _compare(graph, spec, f"compare{arm}", "evaluate.base", evaluated_as(arm))


def _compare(graph: _Graph, spec: RepairSpec, name: str, base: str, repaired: str) -> None:
    graph.add(
        name,
        steps.CompareStep,
        base_evaluation_digest=graph.output(base, "evaluation"),
        repaired_evaluation_digest=graph.output(repaired, "evaluation"),
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )
