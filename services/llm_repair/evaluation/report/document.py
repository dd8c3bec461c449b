"""Turns a dossier and the artifacts it names into `report.json`. Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.efficiency import efficiency
from llm_repair.evaluation.report.json_access import (
    NOTHING,
    JsonObject,
    list_at,
    object_at,
    objects_at,
    text_at,
    value_at,
    without_non_finite,
)
from llm_repair.evaluation.report.judges import judges_json
from llm_repair.evaluation.report.sentinels import checks, contamination, warnings
from llm_repair.evaluation.report.sources import Sources
from llm_repair.evaluation.report.stages import Stage, costs_by_stage, total_s

SCHEMA_VERSION: Final = 2

Document: TypeAlias = Mapping[str, Json]
"""The content of `report.json`, as described by `report.schema.json`."""


def report_document(sources: Sources) -> Document:
    """Returns the content of `report.json`. No text of a prompt or an output is in it, only ids and numbers."""
    dossier = sources.dossier
    comparison = sources.comparisons.get("repaired", NOTHING)
    document: dict[str, Json] = {
        "schema_version": SCHEMA_VERSION,
        "goal": text_at(dossier, "goal") or text_at(dossier, "repair", "spec", "goal") or "REPAIR",
        "repair": object_at(dossier, "repair"),
        "verdict": text_at(dossier, "gate", "verdict") or None,
        "metrics": list_at(comparison, "metrics"),
        "composites": _composites(comparison, dossier),
        "usage": _usage(dossier),
        "steps": list_at(dossier, "steps"),
        "provenance": _provenance(sources),
        "records": sources.records.get("repaired") or {"prompts": [], "documents": []},
        "gate": object_at(dossier, "gate"),
        "judges": judges_json(sources),
        "checks": [check.as_json() for check in checks(sources)],
        "contamination": contamination(sources),
        "sequential": _sequential(sources),
        "warnings": warnings(sources),
        "pool": object_at(dossier, "pool"),
        "selection": _selection(sources),
        "control": _control(sources),
        "full": _full(sources),
        "training": {"summary": _arm(dossier, "repaired").get("repair_summary"), "curve": sources.curve},
        "timing": object_at(dossier, "timing"),
    }
    cleaned = without_non_finite(document)
    assert isinstance(cleaned, Mapping)
    return cleaned


def _arm(dossier: JsonObject, role: str) -> JsonObject:
    return next((arm for arm in objects_at(dossier, "arms") if text_at(arm, "role") == role), NOTHING)


def _composites(comparison: JsonObject, dossier: JsonObject) -> Json:
    """RES and its times; null where nothing was repaired."""
    arm = _arm(dossier, "repaired")
    if not arm.get("repair_summary"):
        return None
    metrics, steps = objects_at(comparison, "metrics"), objects_at(dossier, "steps")
    return efficiency(metrics, steps, is_full=text_at(arm, "strategy") == "full")


def _usage(dossier: JsonObject) -> Json:
    costs = costs_by_stage(objects_at(dossier, "steps"))
    return {
        **object_at(dossier, "usage"),
        "stages": [cost.as_json() for cost in costs],
        "repair_wall_s": total_s(costs),
        "set_up_wall_s": sum(cost.wall_s for cost in costs if cost.stage is Stage.SET_UP),
        "reused_wall_s": sum(cost.reused_wall_s for cost in costs),
    }


_OF_COMPARISON = (
    "confidence",
    "replicates",
    "draws",
    "n_prompts",
    "missing",
    "tests",
    "minimum_detectable_effect",
)


def _provenance(sources: Sources) -> Json:
    dossier = sources.dossier
    comparison = sources.comparisons.get("repaired", NOTHING)
    return {
        "protocol": text_at(comparison, "protocol"),
        **{name: value_at(comparison, name) for name in _OF_COMPARISON},
        "bootstrap_seed": value_at(comparison, "seed"),
        "seed": value_at(dossier, "repair", "seed"),
        "evaluations": {
            role: {"digest": text_at(dossier, "evaluations", role), "about": about}
            for role, about in sources.evaluations.items()
        },
        "weights": {
            text_at(arm, "role"): digest
            for arm in objects_at(dossier, "arms")
            if (digest := text_at(arm, "weights_digest"))
        },
        "pool": text_at(dossier, "pool", "digest"),
        "selections": {
            text_at(arm, "role"): digest for arm in objects_at(dossier, "arms") if (digest := text_at(arm, "selection"))
        },
        "references": object_at(dossier, "repair", "resolved"),
        "environment": _environment(dossier),
    }


def _environment(dossier: JsonObject) -> Json:
    """What the steps agree on (versions, hardware); what differs between them stays with the steps."""
    return _agreed([found for step in objects_at(dossier, "steps") if (found := object_at(step, "provenance"))])


def _agreed(recorded: Sequence[JsonObject]) -> dict[str, Json]:
    """Keeps each entry on which all that have it agree; services need not have the same packages installed."""
    agreed: dict[str, Json] = {}
    for key in dict.fromkeys(key for one in recorded for key in one):
        values = [one[key] for one in recorded if key in one]
        nested = [value for value in values if isinstance(value, Mapping)]
        if len(nested) == len(values):
            agreed[key] = _agreed(nested)
        elif all(value == values[0] for value in values):
            agreed[key] = values[0]
    return agreed


def _sequential(sources: Sources) -> Json:
    """How a measurement that could stop early ended; null where all prompts were measured."""
    about = sources.evaluations.get("repaired", NOTHING)
    found = object_at(about, "sequential")
    whole = sources.evaluations.get("base", about)
    return {**found, "prompts": value_at(whole, "prompts")} if found else None


def _selection(sources: Sources) -> Json:
    arm = _arm(sources.dossier, "repaired")
    return {
        "strategy": text_at(arm, "strategy"),
        "digest": text_at(arm, "selection"),
        "summary": object_at(arm, "selection_summary"),
        "map": sources.selection_map,
    }


def _control(sources: Sources) -> Json:
    """The RANDOM arm at the same budget; null when it was not asked for."""
    arm = _arm(sources.dossier, "control")
    if not arm:
        return None
    return {
        "strategy": text_at(arm, "strategy"),
        "selection": text_at(arm, "selection"),
        "metrics": list_at(sources.comparisons.get("control", {}), "metrics"),
        "difference": list_at(sources.comparisons.get("difference", {}), "metrics"),
        "records": sources.records.get("control"),
    }


def _full(sources: Sources) -> Json:
    """The arm on the whole pool; null when it was not asked for."""
    arm = _arm(sources.dossier, "full")
    if not arm:
        return None
    return {
        "strategy": text_at(arm, "strategy"),
        "metrics": list_at(sources.comparisons.get("full", {}), "metrics"),
        "records": sources.records.get("full"),
    }
