"""`repair.json`: where a repaired checkpoint comes from, beside its weights from the moment they are saved.

The repair step writes what went in; publishing adds what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import ModelCard
from yaml import YAMLError

from llm_repair.core.execution import Json
from llm_repair.core.steps import PublishStep, RepairStep, step_key, to_json

FILE_NAME = "repair.json"
SCHEMA_VERSION = 1


def training_lineage(step: RepairStep, base_folder: Path) -> dict[str, Json]:
    """Returns what went into a repair: digests of model, pool and selection, method and seed."""
    return {
        "schema_version": SCHEMA_VERSION,
        "base": {"digest": step.model_digest, "license": _license(base_folder)},
        "pool_digest": step.pool_digest,
        "selection_digest": step.selection_digest,
        "method": to_json(step.method),
        "seed": step.seed,
        "repair_step": step_key(step),
    }


def published_lineage(
    training: Mapping[str, Json], step: PublishStep, report: Mapping[str, Json], weights_digest: str
) -> dict[str, Json]:
    """Returns the whole lineage: training, base reference, weights, and what the report found.

    Of the report only digests, ids and numbers are taken over.
    """
    base = training["base"]
    assert isinstance(base, Mapping)
    repair = report["repair"]
    assert isinstance(repair, Mapping)
    return {
        **training,
        "base": {**base, "reference": step.source},
        "repair": repair.get("name"),
        "weights_digest": weights_digest,
        "report_digest": step.report_digest,
        "verdict": report["verdict"],
        "metrics": report["metrics"],
    }


def _license(folder: Path) -> str | None:
    """Returns the licence that the base model's card states; None where there is no readable card."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---"):
        return None
    try:
        stated = ModelCard(text, ignore_metadata_errors=True).data.to_dict().get("license")
    except (ValueError, YAMLError):
        return None
    return stated if isinstance(stated, str) else None
