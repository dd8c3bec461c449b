"""Reads what the other steps left, as far as the report needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import NOTHING, JsonObject, objects_at, text_at


@dataclass(frozen=True)
class Sources:
    """The artifacts behind a report, parsed."""

    dossier: JsonObject
    comparisons: Mapping[str, JsonObject]
    """By role of the arm (`repaired`, `control`) and `difference` for main arm minus control."""
    records: Mapping[str, Json]
    """By role of the arm."""
    evaluations: Mapping[str, JsonObject]
    """`about.json` by role: `base`, `repaired`, `control`."""
    generations: Mapping[str, tuple[JsonObject, ...]]
    """By role: `base` and `repaired`."""
    prompts: Mapping[str, str]
    """Text by prompt id; empty where the data set is not in the store."""
    selection_map: Json = None
    curve: Json = None
    """Of the main arm."""


def read_sources(store: ArtifactStore, dossier_digest: str) -> Sources:
    """Reads the dossier and every artifact it names.

    Raises:
      ArtifactNotFound: the dossier names something that the store does not have.
      ArtifactCorrupt: stored bytes do not have their digest.
    """
    dossier = _object(store, dossier_digest)
    arms = {text_at(arm, "role"): arm for arm in objects_at(dossier, "arms")}
    evaluations = {
        role: digest for role in ("base", "repaired", "control") if (digest := text_at(dossier, "evaluations", role))
    }
    about = {role: _about(store, digest) for role, digest in evaluations.items()}
    return Sources(
        dossier=dossier,
        comparisons=_comparisons(store, dossier, arms),
        records={role: _json(store, digest) for role, arm in arms.items() if (digest := text_at(arm, "records"))},
        evaluations=about,
        generations={
            role: _generations(store, evaluations[role]) for role in ("base", "repaired") if role in evaluations
        },
        prompts=_prompts(store, about.get("base", NOTHING)),
        selection_map=_optional(store, text_at(arms.get("repaired", NOTHING), "map")),
        curve=_optional(store, text_at(arms.get("repaired", NOTHING), "curve")),
    )


def _comparisons(store: ArtifactStore, dossier: JsonObject, arms: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
    digests = {role: text_at(arm, "comparison") for role, arm in arms.items()}
    digests["difference"] = text_at(dossier, "control_comparison")
    return {role: _object(store, digest) for role, digest in digests.items() if digest}


def _about(store: ArtifactStore, digest: str) -> JsonObject:
    return _object(store, store.entries(digest)["about.json"].digest)


def _generations(store: ArtifactStore, digest: str) -> tuple[JsonObject, ...]:
    return _lines(store.get_bytes(store.entries(digest)["generations.jsonl"].digest))


def _prompts(store: ArtifactStore, about: JsonObject) -> Mapping[str, str]:
    digest = text_at(about, "prompts_digest")
    rows = _lines(store.get_bytes(digest)) if digest else ()
    return {text_at(row, "id"): text_at(row, "prompt") for row in rows}


def _lines(data: bytes) -> tuple[JsonObject, ...]:
    return tuple(json.loads(line) for line in data.splitlines() if line.strip())


def _object(store: ArtifactStore, digest: str) -> JsonObject:
    found = _json(store, digest)
    return found if isinstance(found, Mapping) else NOTHING


def _optional(store: ArtifactStore, digest: str) -> Json:
    return _json(store, digest) if digest else None


def _json(store: ArtifactStore, digest: str) -> Json:
    return json.loads(store.get_bytes(digest))
