"""The publish step: the repaired weights with model card and lineage, no byte of the weights touched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from llm_repair.artifacts.model_files import weights_digest
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ModelInvalid
from llm_repair.core.execution import Artifact, Json, StepContext, StepOutput
from llm_repair.core.metrics import metric_from_json
from llm_repair.core.steps import PublishStep
from llm_repair.trainer import lineage
from llm_repair.trainer.model_card import model_card


def run(step: PublishStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Makes the final tree from stored blobs; outputs `model`, whose `weights_digest` is the repaired model's.

    Raises:
      ModelInvalid: the model was not left by a repair step, so nothing is known of how it was made.
    """
    entries = store.entries(step.model_digest)
    if lineage.FILE_NAME not in entries:
        raise ModelInvalid("the model has no repair.json, so it was not made by a repair", digest=step.model_digest)
    training = _json_object(store, entries[lineage.FILE_NAME])
    report = _json_object(store, store.entries(step.report_digest)["report.json"])
    whole = lineage.published_lineage(training, step, report, weights_digest(entries))
    card = model_card(whole, [metric_from_json(metric) for metric in _metrics(report)], _confidence(report))
    text = json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    published = store.put_entries(
        {
            **entries,
            "README.md": store.put_bytes(card.encode()),
            lineage.FILE_NAME: store.put_bytes(text.encode()),
        }
    )
    digest = weights_digest(store.entries(published.digest))
    assert digest == whole["weights_digest"]
    context.progress(1, 1, "models")
    return StepOutput({"model": published}, {"weights_digest": digest, "verdict": report["verdict"]})


def _json_object(store: ArtifactStore, blob: Artifact) -> Mapping[str, Json]:
    return json.loads(store.get_bytes(blob.digest))


def _metrics(report: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    metrics = report["metrics"]
    assert isinstance(metrics, Sequence)
    return [metric for metric in metrics if isinstance(metric, Mapping)]


def _confidence(report: Mapping[str, Json]) -> float | None:
    provenance = report["provenance"]
    assert isinstance(provenance, Mapping)
    confidence = provenance.get("confidence")
    return float(confidence) if isinstance(confidence, int | float) else None
