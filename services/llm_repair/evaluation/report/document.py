"""Turns a dossier and the artifacts it names into `report.json`. Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import correlation
from typing import TypeAlias

from llm_repair.core.execution import Json
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
from llm_repair.evaluation.report.records import prompt_scores
from llm_repair.evaluation.report.sources import Sources
from llm_repair.evaluation.report.stages import Stage, costs_by_stage, total_s

SCHEMA_VERSION = 1

Document: TypeAlias = Mapping[str, Json]
"""The content of `report.json`, as described by `report.schema.json`."""


def report_document(sources: Sources) -> Document:
    """Returns the content of `report.json`. No text of a prompt or an output is in it, only ids and numbers."""
    dossier = sources.dossier
    comparison = sources.comparisons.get("repaired", {})
    document: dict[str, Json] = {
        "schema_version": SCHEMA_VERSION,
        "repair": object_at(dossier, "repair"),
        "verdict": text_at(dossier, "gate", "verdict"),
        "metrics": list_at(comparison, "metrics"),
        "usage": _usage(dossier),
        "steps": list_at(dossier, "steps"),
        "provenance": _provenance(sources),
        "records": sources.records.get("repaired") or {"prompts": [], "documents": []},
        "gate": object_at(dossier, "gate"),
        "judges": _judges(sources),
        "pool": {**object_at(dossier, "pool"), "overlap": value_at(dossier, "overlap")},
        "selection": _selection(sources),
        "control": _control(sources),
        "training": {"summary": _arm(dossier, "repaired").get("repair_summary"), "curve": sources.curve},
        "timing": object_at(dossier, "timing"),
    }
    cleaned = without_non_finite(document)
    assert isinstance(cleaned, Mapping)
    return cleaned


def _arm(dossier: JsonObject, role: str) -> JsonObject:
    return next((arm for arm in objects_at(dossier, "arms") if text_at(arm, "role") == role), NOTHING)


def _usage(dossier: JsonObject) -> Json:
    costs = costs_by_stage(objects_at(dossier, "steps"))
    return {
        **object_at(dossier, "usage"),
        "stages": [cost.as_json() for cost in costs],
        "repair_wall_s": total_s(costs),
        "set_up_wall_s": sum(cost.wall_s for cost in costs if cost.stage is Stage.SET_UP),
        "reused_wall_s": sum(cost.reused_wall_s for cost in costs),
    }


def _provenance(sources: Sources) -> Json:
    dossier = sources.dossier
    comparison = sources.comparisons.get("repaired", {})
    return {
        "protocol": text_at(comparison, "protocol"),
        "confidence": value_at(comparison, "confidence"),
        "draws": value_at(comparison, "draws"),
        "n_prompts": value_at(comparison, "n_prompts"),
        "missing": value_at(comparison, "missing"),
        "tests": value_at(comparison, "tests"),
        "minimum_detectable_effect": value_at(comparison, "minimum_detectable_effect"),
        "evaluations": {
            role: {"digest": text_at(dossier, "evaluations", role), "about": about}
            for role, about in sources.evaluations.items()
        },
        "weights": {text_at(arm, "role"): text_at(arm, "weights_digest") for arm in objects_at(dossier, "arms")},
        "pool": text_at(dossier, "pool", "digest"),
        "selections": {text_at(arm, "role"): text_at(arm, "selection") for arm in objects_at(dossier, "arms")},
        "references": object_at(dossier, "repair", "resolved"),
        "seed": value_at(dossier, "repair", "seed"),
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


def _judges(sources: Sources) -> Json:
    gating, pool = text_at(sources.dossier, "gating_judge"), value_at(sources.dossier, "pool_judge")
    return {
        "gating": gating,
        "pool": pool,
        "gating_judge_made_the_pairs": bool(gating) and gating == pool,
        "correlations": _correlations(sources, gating),
        "all": list_at(sources.evaluations.get("base", {}), "judges"),
    }


def _correlations(sources: Sources, gating: str) -> Json:
    """Pearson's r between the gating judge and every other on the outputs of the base model; null where undefined."""
    records = sources.records.get("repaired")
    names = [text_at(judge, "name") for judge in objects_at(sources.evaluations.get("base", NOTHING), "judges")]
    ours = [score for item in prompt_scores(records, gating) for score in item.base]
    found: dict[str, Json] = {}
    for name in names:
        if name != gating:
            theirs = [score for item in prompt_scores(records, name) for score in item.base]
            found[name] = _pearson(
                [(a, b) for a, b in zip(ours, theirs, strict=False) if a is not None and b is not None]
            )
    return found


def _pearson(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 2 or any(len({pair[side] for pair in pairs}) < 2 for side in (0, 1)):
        return None
    return correlation([first for first, _ in pairs], [second for _, second in pairs])


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
