"""Training checkpoints: a bounded number per step key, each whole or not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_repair.artifacts.blobs import BlobArea
from llm_repair.artifacts.digests import hex_of
from llm_repair.artifacts.objects import Objects
from llm_repair.core.errors import ArtifactCorrupt, ArtifactNotFound

_NO_CONTENT: Final = "sha256:" + "0" * 64
"""A digest that no content has, so that whoever reads it is told that there is nothing."""


@dataclass(frozen=True)
class CheckpointRecord:
    """One checkpoint of a step that is being executed."""

    step: int
    """Optimizer steps done, at least 0."""
    digest: str
    """Of a tree; of none that is stored, where the record itself cannot be read."""


class Checkpoints:
    """Checkpoints of one step key: records at `<prefix>/<step>`, their blobs in an area below the same prefix.

    The blobs are apart from the project's, although that stores some bytes twice: what no record names can then be
    deleted at once, where a shared blob may have become part of a result in the meantime.
    """

    def __init__(self, objects: Objects, prefix: str) -> None:
        self.area = BlobArea(objects, prefix)
        self._objects = objects
        self._prefix = prefix

    def newest_first(self) -> list[CheckpointRecord]:
        """Lists the checkpoints; one that is torn too, which shows when it is read."""
        names = [name for name in reversed(self._objects.names(self._prefix)) if name.isdigit()]
        return [CheckpointRecord(int(name), self._digest(name)) for name in names]

    def put(self, step: int, folder: Path, *, keep: int, given: bool = False) -> list[CheckpointRecord]:
        """Stores a checkpoint, its record last; then drops all older ones but the `keep - 1` newest, returned.

        given: as in `BlobArea.put_tree`.
        Later ones stay: whoever stores this one may have refused them, and must not lose its own to them.
        """
        if step < 0 or keep < 1:
            raise ValueError("a checkpoint has a step of at least 0, and at least one is kept")
        before = self.newest_first()
        record = CheckpointRecord(step, self.area.put_tree(folder, given=given).digest)
        place = f"{self._prefix}/{step:012d}"
        self._objects.put(place, json.dumps({"step": step, "digest": record.digest}).encode())
        self._objects.settle(place)
        replaced = [other for other in before if other.step == step and other.digest != record.digest]
        older = [other for other in before if other.step < step]
        return self._drop(older[keep - 1 :]) + self._free(replaced)

    def clear(self) -> list[CheckpointRecord]:
        """Removes all checkpoints of the key and returns them."""
        return self._drop(self.newest_first())

    def _digest(self, name: str) -> str:
        try:
            digest = str(json.loads(self._objects.get(f"{self._prefix}/{name}") or b"")["digest"])
            hex_of(digest)
        except (ValueError, KeyError, TypeError, ArtifactNotFound):
            return _NO_CONTENT
        return digest

    def _drop(self, records: list[CheckpointRecord]) -> list[CheckpointRecord]:
        """Deletes records first, so that a crash in between leaves unused blobs and never a torn checkpoint."""
        for record in records:
            self._objects.delete(f"{self._prefix}/{record.step:012d}")
        return self._free(records)

    def _free(self, records: list[CheckpointRecord]) -> list[CheckpointRecord]:
        """Deletes what only these checkpoints had, which have no record any more."""
        used = {path for record in self.newest_first() for path in self._paths(record.digest)}
        for record in records:
            for path in self._paths(record.digest):
                if path not in used:
                    self._objects.delete(path)
        return records

    def _paths(self, digest: str) -> list[str]:
        try:
            blobs = self.area.entries(digest).values()
        except (ArtifactNotFound, ArtifactCorrupt):
            return []
        return [*(self.area.blob_path(blob.digest) for blob in blobs), self.area.tree_path(digest)]
