"""Reads what the other steps left, as far as the report needs it.

Whatever the dossier does not name is absent, and so is a file that an evaluation does not have: the page says so
instead of failing. What is named but not in the store is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import NOTHING, JsonObject, object_at, objects_at, text_at

ROLES = ("base", "repaired", "control", "full")


@dataclass(frozen=True)
class Sources:
    """The artifacts behind a report, parsed."""

    dossier: JsonObject
    comparisons: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """By role of the arm (`repaired`, `control`, `full`) and `difference` for main arm minus control."""
    records: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """By role of the arm."""
    evaluations: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """`about.json` by role: `base`, `repaired`, `control`, `full`."""
    generations: Mapping[str, tuple[JsonObject, ...]] = field(default_factory=dict[str, tuple[JsonObject, ...]])
    """By role: `base` and `repaired`."""
    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Text by prompt id; empty where the data set is not in the store."""
    overlap: JsonObject = field(default_factory=dict[str, Json])
    """Prompts of the evaluation that are in the pool too."""
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
    trees = {role: _Evaluation(store, digest) for role in ROLES if (digest := text_at(dossier, "evaluations", role))}
    sides = {role: tree for role, tree in trees.items() if role in ("base", "repaired")}
    about = {role: tree.object("about.json") for role, tree in trees.items()}
    return Sources(
        dossier=dossier,
        comparisons=_comparisons(store, dossier, arms),
        records={role: _json(store, digest) for role, arm in arms.items() if (digest := text_at(arm, "records"))},
        evaluations=about,
        generations={role: tree.lines("generations.jsonl") for role, tree in sides.items()},
        prompts=_prompts(store, next((about[role] for role in ("base", "repaired") if role in about), NOTHING)),
        overlap=_overlap(store, dossier),
        selection_map=_optional(store, text_at(arms.get("repaired", NOTHING), "map")),
        curve=_optional(store, text_at(arms.get("repaired", NOTHING), "curve")),
    )


class _Evaluation:
    """The tree of one evaluation; files that it does not have are empty."""

    def __init__(self, store: ArtifactStore, digest: str) -> None:
        self._store = store
        self._entries = store.entries(digest)

    def object(self, path: str) -> JsonObject:
        return object_at({"all": json.loads(self._bytes(path) or b"null")}, "all")

    def lines(self, path: str) -> tuple[JsonObject, ...]:
        return _lines(self._bytes(path))

    def _bytes(self, path: str) -> bytes:
        return self._store.get_bytes(self._entries[path].digest) if path in self._entries else b""


def _comparisons(store: ArtifactStore, dossier: JsonObject, arms: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
    digests = {role: text_at(arm, "comparison") for role, arm in arms.items()}
    digests["difference"] = text_at(dossier, "control_comparison")
    return {role: _object(store, digest) for role, digest in digests.items() if digest}


def _prompts(store: ArtifactStore, about: JsonObject) -> Mapping[str, str]:
    digest = text_at(about, "prompts_digest")
    rows = _lines(store.get_bytes(digest)) if digest else ()
    return {text_at(row, "id"): text_at(row, "prompt") for row in rows}


def _overlap(store: ArtifactStore, dossier: JsonObject) -> JsonObject:
    """Returns the result of the `overlap` step, which the dossier holds or names."""
    digest = text_at(dossier, "overlap")
    return _object(store, digest) if digest else object_at(dossier, "overlap")


def _lines(data: bytes) -> tuple[JsonObject, ...]:
    return tuple(json.loads(line) for line in data.splitlines() if line.strip())


def _object(store: ArtifactStore, digest: str) -> JsonObject:
    found = _json(store, digest)
    return found if isinstance(found, Mapping) else NOTHING


def _optional(store: ArtifactStore, digest: str) -> Json:
    return _json(store, digest) if digest else None


def _json(store: ArtifactStore, digest: str) -> Json:
    return json.loads(store.get_bytes(digest))
