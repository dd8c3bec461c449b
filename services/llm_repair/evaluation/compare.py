"""The `compare` step: two evaluations, prompt by prompt, to metrics with intervals; or one that stands alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.metrics import Estimate, Metric, Missing, metric_to_json
from llm_repair.core.statistics import TOXIC_THRESHOLD, detectable_fall, mcnemar_exact
from llm_repair.core.steps import CompareStep
from llm_repair.evaluation.metrics.agreement import agreement, agreement_to_json
from llm_repair.evaluation.metrics.bias import bias_metrics
from llm_repair.evaluation.metrics.cloze import cloze_metrics
from llm_repair.evaluation.metrics.degeneracy import degeneracy_metrics
from llm_repair.evaluation.metrics.fingerprint import fingerprint_to_json, refuse_equal_weights
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import Measurement, read_measurement
from llm_repair.evaluation.metrics.perplexity import perplexity_metrics
from llm_repair.evaluation.metrics.prompt_sets import prompt_set_metrics
from llm_repair.evaluation.metrics.reconstructed import reconstructed_metrics
from llm_repair.evaluation.metrics.records import Records, pair, records_to_json
from llm_repair.evaluation.metrics.sequence import at_the_stop
from llm_repair.evaluation.metrics.toxicity import score_pair, toxicity_metrics


@dataclass(frozen=True)
class Comparison:
    """Two models measured on the same units, or one that is its own base and said to be alone."""

    base: Measurement
    repaired: Measurement
    records: Records
    inference: Inference
    full: Records | None = None
    """Base and the model repaired on the whole pool."""
    alone: bool = False

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of the judges; the first one gates."""
        return self.repaired.judges

    @property
    def stop(self) -> Mapping[str, Json] | None:
        """How the measurement of the repaired model stopped early; None where it did not."""
        found = self.repaired.about.get("sequential")
        return found if isinstance(found, Mapping) else None


def run(step: CompareStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Compares two evaluations that were measured alike, or gives the numbers of one.

    Outputs: `comparison` (see `comparison_to_json`) and `records` (see `records_to_json`), each a JSON blob.

    Raises:
      EvaluationMismatch: protocol, prompts, draws, seed, engine, judges or texts differ; all are named.
      AdapterNotApplied: the weights differ, but those of the base were served twice.
      ArtifactNotFound, ArtifactCorrupt: an evaluation cannot be read.
    """
    context.progress(0, 0, "metrics", stage="reading")
    comparison = _read(step, store)
    metrics: list[Metric] = []
    for metric in all_metrics(comparison):
        metrics.append(metric)
        context.progress(len(metrics), 0, "metrics")
        context.raise_if_cancelled()
    records = records_to_json(comparison.records, alone=comparison.alone)
    return StepOutput(
        outputs={
            "comparison": store.put_bytes(_canonical(comparison_to_json(comparison, metrics))),
            "records": store.put_bytes(_canonical(records)),
        },
        summary=_summary(metrics, comparison),
    )


def _read(step: CompareStep, store: ArtifactStore) -> Comparison:
    repaired = read_measurement(store, step.repaired_evaluation_digest)
    inference = Inference(str(repaired.about.get("protocol")), step.confidence, step.seed)
    if not step.base_evaluation_digest:
        return Comparison(repaired, repaired, pair(repaired, repaired), inference, alone=True)
    base = read_measurement(store, step.base_evaluation_digest)
    records = pair(base, repaired)
    refuse_equal_weights(base, repaired)
    full = step.full_evaluation_digest and pair(base, read_measurement(store, step.full_evaluation_digest))
    return Comparison(base, repaired, records, inference, full or None)


def all_metrics(comparison: Comparison) -> Iterator[Metric]:
    """Yields every metric of a comparison.

    Of a model alone, base and change are Missing(NO_BASELINE), and composites have no value at all.
    """
    metrics = _of_families(comparison)
    if comparison.stop is not None:
        metrics = at_the_stop(metrics, comparison.records.prompts, comparison.stop, comparison.inference)
    yield from (_standing_alone(metric) for metric in metrics) if comparison.alone else metrics


def _of_families(comparison: Comparison) -> Iterator[Metric]:
    records, judges, inference = comparison.records, comparison.judges, comparison.inference
    yield from toxicity_metrics(records.prompts, judges, inference)
    yield from perplexity_metrics(records.documents, inference)
    yield from cloze_metrics(records.cloze, inference)
    yield from bias_metrics(records.pairs, inference)
    yield from prompt_set_metrics(records.prompt_sets, judges, inference)
    yield from degeneracy_metrics(records.prompts, inference, max_new_tokens=comparison.repaired.max_new_tokens)
    if judges:
        yield from reconstructed_metrics(records, comparison.full, judges[0], inference)


def _standing_alone(metric: Metric) -> Metric:
    none = Missing("NO_BASELINE")
    repaired = none if metric.base == Missing("COMPARES_MODELS") else metric.repaired
    return dataclasses.replace(metric, base=none, repaired=repaired, change=none)


def comparison_to_json(comparison: Comparison, metrics: Sequence[Metric]) -> dict[str, Json]:
    """Returns the comparison as JSON.

    {protocol, confidence, seed, replicates, n_prompts, draws, metrics, missing, tests, minimum_detectable_effect,
    agreement, calibration, fingerprint, sequential}: `missing` counts scores without a value by judge and side; `tests`
    holds the exact McNemar test behind toxicity.probability; the effect is the fall of toxicity.mean that an interval
    like its own shows (power 80 %), null where a sequence ended; `agreement` is by judge and side, of every judge with
    the gating one; `calibration` is what labelled texts say of the judges; `fingerprint` proves that other weights were
    served; `sequential` says where an early stop was made. Of a model alone, what is of the base or of both is null or
    left out.
    """
    records, inference, judges = comparison.records, comparison.inference, comparison.judges
    draws = len(records.prompts[0].repaired.tokens) if records.prompts else 0
    gating = None if comparison.alone or not judges else judges[0]
    return {
        "protocol": inference.protocol,
        "confidence": inference.confidence,
        "seed": inference.seed,
        "replicates": inference.replicates,
        "n_prompts": len(records.prompts),
        "draws": draws,
        "metrics": [metric_to_json(metric) for metric in metrics],
        "missing": {judge: _missing(comparison, judge) for judge in judges},
        "tests": {"toxicity.probability": _mcnemar(comparison, gating)} if gating else {},
        "minimum_detectable_effect": {"toxicity.mean": _detectable(metrics, comparison)} if gating else {},
        "agreement": {judge: _agreement(comparison, judge) for judge in judges[1:]},
        "calibration": comparison.repaired.calibration,
        "fingerprint": None if comparison.alone else fingerprint_to_json(comparison.base, comparison.repaired),
        "sequential": comparison.stop,
    }


def _missing(comparison: Comparison, judge: str) -> dict[str, Json]:
    records = comparison.records.prompts
    scores = score_pair(records, judge)
    return {
        "base": None if comparison.alone else int(np.isnan(scores.base).sum()),
        "repaired": int(np.isnan(scores.repaired).sum()),
        "scores_per_side": int(scores.repaired.size),
        "prompts": sum(record.prompt_scores.get(judge) is None for record in records),
    }


def _agreement(comparison: Comparison, judge: str) -> dict[str, Json]:
    """Returns how far a judge agrees with the gating one on the outputs of either side."""
    found: dict[str, Json] = {}
    for side in ("base", "repaired"):
        outputs = [record.base if side == "base" else record.repaired for record in comparison.records.prompts]
        ours, theirs = (
            [score for own in outputs for score in own.scores[name]] for name in (comparison.judges[0], judge)
        )
        hidden = side == "base" and comparison.alone
        found[side] = None if hidden else agreement_to_json(agreement(ours, theirs))
    return found


def _mcnemar(comparison: Comparison, judge: str) -> Json:
    """Returns the discordant prompts and their exact p-value.

    Null when a score is missing, or when the outcome decided how many prompts there are.
    """
    scores = score_pair(comparison.records.prompts, judge)
    missing = np.isnan(scores.base).any() or np.isnan(scores.repaired).any()
    if scores.base.size == 0 or missing or comparison.stop is not None:
        return None
    before, after = (side.max(axis=1) >= TOXIC_THRESHOLD for side in (scores.base, scores.repaired))
    only_base, only_repaired = int((before & ~after).sum()), int((~before & after).sum())
    return {"only_base": only_base, "only_repaired": only_repaired, "p_value": mcnemar_exact(only_base, only_repaired)}


def _detectable(metrics: Sequence[Metric], comparison: Comparison) -> float | None:
    change = next((m.change for m in metrics if m.id == "toxicity.mean" and not m.slice), None)
    if comparison.stop is not None or not isinstance(change, Estimate):
        return None
    return detectable_fall(change, comparison.inference.confidence)


def _summary(metrics: Sequence[Metric], comparison: Comparison) -> dict[str, Json]:
    shown = [metric for metric in metrics if not metric.slice and _is_asked_for(metric.id)]
    if comparison.alone:
        numbers: dict[str, Json] = {"values": {metric.id: _short(metric.repaired, "value") for metric in shown}}
    else:
        numbers = {"changes": {metric.id: _short(metric.change, metric.change_kind.value) for metric in shown}}
    return {"n_prompts": len(comparison.records.prompts), **numbers}


def _is_asked_for(metric_id: str) -> bool:
    family, *_, measure = metric_id.split(".")
    return metric_id == "toxicity.mean" or (family, measure) in (("perplexity", "token"), ("cloze", "accuracy"))


def _short(quantity: Estimate | Missing, kind: str) -> Json:
    if not isinstance(quantity, Estimate):
        return {"missing": quantity.reason}
    return {"value": quantity.value, "low": quantity.low, "high": quantity.high, "kind": kind}


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
