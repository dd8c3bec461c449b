"""Training checkpoints: a bounded number per step key, each whole or not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from llm_repair.artifacts.blobs import BlobArea
from llm_repair.artifacts.objects import Objects
from llm_repair.core.errors import ArtifactCorrupt, ArtifactNotFound


@dataclass(frozen=True)
class CheckpointRecord:
    """One checkpoint of a step that is being executed."""

    step: int
    """Optimizer steps done, at least 0."""
    digest: str
    """Of a tree."""


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
        """Lists the whole checkpoints; one with a missing blob or an unreadable record is left out."""
        return [record for record in self._records() if self._is_whole(record.digest)]

    def put(self, step: int, folder: Path, *, keep: int) -> list[CheckpointRecord]:
        """Stores a checkpoint, its record last; then drops all but the `keep` newest and returns those dropped."""
        if step < 0 or keep < 1:
            raise ValueError("a checkpoint has a step of at least 0, and at least one is kept")
        record = CheckpointRecord(step, self.area.put_tree(folder).digest)
        place = f"{self._prefix}/{step:012d}"
        self._objects.put(place, json.dumps({"step": step, "digest": record.digest}).encode())
        self._objects.settle(place)
        return self._drop(self._records()[keep:])

    def clear(self) -> list[CheckpointRecord]:
        """Removes all checkpoints of the key and returns them."""
        return self._drop(self._records())

    def _records(self) -> list[CheckpointRecord]:
        found: list[CheckpointRecord] = []
        for name in reversed(self._objects.names(self._prefix)):
            try:
                document = json.loads(self._objects.get(f"{self._prefix}/{name}") or b"")
                found.append(CheckpointRecord(int(name), str(document["digest"])))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def _is_whole(self, digest: str) -> bool:
        try:
            blobs = self.area.entries(digest).values()
        except (ArtifactNotFound, ArtifactCorrupt):
            return False
        return all(self._objects.size(self.area.blob_path(blob.digest)) == blob.size_bytes for blob in blobs)

    def _drop(self, records: list[CheckpointRecord]) -> list[CheckpointRecord]:
        """Deletes records first, so that a crash in between leaves unused blobs and never a torn checkpoint."""
        for record in records:
            self._objects.delete(f"{self._prefix}/{record.step:012d}")
        used = {path for record in self._records() for path in self._paths(record.digest)}
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
