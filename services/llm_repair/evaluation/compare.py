"""The `compare` step: two evaluations, prompt by prompt, to metrics with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.metrics import Estimate, Metric, metric_to_json
from llm_repair.core.statistics import TOXIC_THRESHOLD, mcnemar_exact, minimum_detectable_effect
from llm_repair.core.steps import CompareStep
from llm_repair.evaluation.metrics.degeneracy import degeneracy_metrics
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import read_measurement
from llm_repair.evaluation.metrics.perplexity import perplexity_metrics
from llm_repair.evaluation.metrics.records import Records, pair, records_to_json
from llm_repair.evaluation.metrics.toxicity import score_pair, toxicity_metrics


def run(step: CompareStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Compares two evaluations that were measured alike.

    Outputs: `comparison` (see `comparison_to_json`) and `records` (see `records_to_json`), each a JSON blob.

    Raises:
      EvaluationMismatch: protocol, prompts, draws, seed, engine, judges or corpora differ; all are named.
      ArtifactNotFound, ArtifactCorrupt: an evaluation cannot be read.
    """
    context.progress(0, 0, "metrics", stage="reading")
    base = read_measurement(store, step.base_evaluation_digest)
    repaired = read_measurement(store, step.repaired_evaluation_digest)
    records = pair(base, repaired)
    inference = Inference(str(base.about["protocol"]), step.confidence, step.seed)
    metrics: list[Metric] = []
    for metric in all_metrics(records, base.judges, inference, max_new_tokens=base.max_new_tokens):
        metrics.append(metric)
        context.progress(len(metrics), 0, "metrics")
        context.raise_if_cancelled()
    comparison = comparison_to_json(records, base.judges, metrics, inference)
    return StepOutput(
        outputs={
            "comparison": store.put_bytes(_canonical(comparison)),
            "records": store.put_bytes(_canonical(records_to_json(records))),
        },
        summary=_summary(metrics, len(records.prompts)),
    )


def all_metrics(
    records: Records, judges: Sequence[str], inference: Inference, *, max_new_tokens: int | None = None
) -> Iterator[Metric]:
    """Yields every metric of a comparison: toxicity by judge, perplexity by corpus, degeneracy guards."""
    yield from toxicity_metrics(records.prompts, judges, inference)
    yield from perplexity_metrics(records.documents, inference)
    yield from degeneracy_metrics(records.prompts, inference, max_new_tokens=max_new_tokens)


def comparison_to_json(
    records: Records, judges: Sequence[str], metrics: Sequence[Metric], inference: Inference
) -> dict[str, Json]:
    """Returns the comparison as JSON.

    {protocol, confidence, seed, replicates, n_prompts, draws, metrics, missing, tests, minimum_detectable_effect}:
    `missing` counts scores without a value by judge and side; `tests` holds the exact McNemar test behind
    toxicity.probability; the effect is what toxicity.mean could have shown (paired, one-sided 5 %, power 80 %).
    """
    draws = len(records.prompts[0].base.tokens) if records.prompts else 0
    return {
        "protocol": inference.protocol,
        "confidence": inference.confidence,
        "seed": inference.seed,
        "replicates": inference.replicates,
        "n_prompts": len(records.prompts),
        "draws": draws,
        "metrics": [metric_to_json(metric) for metric in metrics],
        "missing": {judge: _missing(records, judge) for judge in judges},
        "tests": {"toxicity.probability": _mcnemar(records, judges[0])} if judges else {},
        "minimum_detectable_effect": {"toxicity.mean": _detectable(records, judges[0])} if judges else {},
    }


def _missing(records: Records, judge: str) -> dict[str, Json]:
    scores = score_pair(records.prompts, judge)
    return {
        "base": int(np.isnan(scores.base).sum()),
        "repaired": int(np.isnan(scores.repaired).sum()),
        "scores_per_side": int(scores.base.size),
        "prompts": sum(record.prompt_scores.get(judge) is None for record in records.prompts),
    }


def _mcnemar(records: Records, judge: str) -> Json:
    """Returns the discordant prompts and their exact p-value; null when a score is missing."""
    scores = score_pair(records.prompts, judge)
    if scores.base.size == 0 or np.isnan(scores.base).any() or np.isnan(scores.repaired).any():
        return None
    before, after = (side.max(axis=1) >= TOXIC_THRESHOLD for side in (scores.base, scores.repaired))
    only_base, only_repaired = int((before & ~after).sum()), int((~before & after).sum())
    return {"only_base": only_base, "only_repaired": only_repaired, "p_value": mcnemar_exact(only_base, only_repaired)}


def _detectable(records: Records, judge: str) -> float | None:
    scores = score_pair(records.prompts, judge)
    changes = scores.repaired.mean(axis=1) - scores.base.mean(axis=1)
    changes = changes[~np.isnan(changes)]
    if changes.size < 2:
        return None
    return minimum_detectable_effect(float(changes.std(ddof=1)), int(changes.size))


def _summary(metrics: Sequence[Metric], n_prompts: int) -> dict[str, Json]:
    shown = [
        metric
        for metric in metrics
        if metric.id == "toxicity.mean" or (metric.id.startswith("perplexity.") and metric.id.endswith(".token"))
    ]
    return {"n_prompts": n_prompts, "changes": {metric.id: _short(metric) for metric in shown}}


def _short(metric: Metric) -> Json:
    change = metric.change
    if not isinstance(change, Estimate):
        return {"missing": change.reason}
    return {"value": change.value, "low": change.low, "high": change.high, "kind": metric.change_kind.value}


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
