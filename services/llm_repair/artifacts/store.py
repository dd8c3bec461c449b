"""The artifact store: everything that steps read and leave, in one folder or bucket per deployment."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from llm_repair.artifacts.blobs import BlobArea
from llm_repair.artifacts.checkpoints import CheckpointRecord, Checkpoints
from llm_repair.artifacts.materialized import LocalCopies
from llm_repair.artifacts.objects import Objects
from llm_repair.artifacts.results import decode_result, encode_result
from llm_repair.core.errors import ArtifactCorrupt, FieldViolation, InvalidFields, RepairError, StorageUnavailable
from llm_repair.core.execution import Artifact, StepResult

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class ArtifactStore:
    """Content-addressed blobs and trees, results, checkpoints and partial outcomes of one project.

    Layout below `projects/<project>/`: `blobs/sha256/ab/<hex>`, `trees/sha256/ab/<hex>`, `results/<key>`,
    `checkpoints/<key>/…`, `partials/<key>/<attempt>`. Synchronous; safe for use by several threads and processes.

    Every method may raise `StorageFull` (nothing half-written is readable, and the same call works once there is
    space, but for a folder that was given) or `StorageUnavailable`.
    """

    def __init__(self, url: str, *, project: str = "default", cache_dir: Path | None = None) -> None:
        """Opens the store.

        Args:
          url: `file:///absolute/folder`, `s3://bucket/prefix`, `gs://…` or `az://…`.
          project: tenant; nothing is shared between projects.
          cache_dir: for local copies; by default inside a local store, or a temporary folder beside a bucket.
        """
        self._objects = Objects(url)
        self._root = f"projects/{_name('project', project)}"
        self._area = BlobArea(self._objects, self._root)
        self._copies = LocalCopies(self._cache_dir(cache_dir))
        self._checkpoint_areas: dict[str, BlobArea] = {}

    def put_bytes(self, data: bytes) -> Artifact:
        """Stores a blob."""
        return self._area.put_bytes(data)

    def put_file(self, path: Path) -> Artifact:
        """Stores a file of any size as a blob, in constant memory; costs one read when it is stored already."""
        return self._area.put_file(path)

    def put_tree(self, folder: Path, *, given: bool = False) -> Artifact:
        """Stores every regular file below `folder`; empty folders, modes and times are not part of a tree.

        given: the caller has no more use for the folder, whatever happens; its large files may be moved, which spares
        a copy of them. A folder that was given is not to be stored again, also after an error.
        """
        return self._area.put_tree(folder, given=given)

    def put_entries(self, entries: Mapping[str, Artifact]) -> Artifact:
        """Makes a tree of blobs that are stored already, such as old weights with a new model card."""
        return self._area.put_entries(entries)

    def get_bytes(self, digest: str) -> bytes:
        """Returns a blob.

        Raises:
          ArtifactNotFound: no blob has this digest.
          ArtifactCorrupt: the stored bytes have another.
        """
        return self._area.get_bytes(digest)

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Returns a blob piece by piece; `ArtifactCorrupt` comes in place of the last piece."""
        return self._area.chunks(digest)

    def entries(self, digest: str) -> Mapping[str, Artifact]:
        """Returns the blobs of a tree by relative path, sorted."""
        return self._area_of(digest).entries(digest)

    def stat(self, digest: str) -> Artifact:
        """Returns kind and size without reading content."""
        return self._area_of(digest).stat(digest)

    def materialize(self, digest: str) -> Path:
        """Returns a verified local path, a file for a blob and a folder for a tree, which must not be written to."""
        area = self._area_of(digest)
        is_tree = area.has_tree(digest)
        return self._copies.tree(area, digest) if is_tree else self._copies.blob(area, digest)

    def get_result(self, key: str) -> StepResult | None:
        """Returns the committed result of a step; None also for one torn by a power cut, which is then redone."""
        data = self._objects.get(self._result_path(key))
        if data is None:
            return None
        try:
            return decode_result(data)
        except ArtifactCorrupt:
            _LOG.warning("result cannot be read and counts as absent", extra={"key": key})
            return None

    def commit_result(self, result: StepResult) -> StepResult:
        """Commits the result unless the step has one; returns the one that stands. Checkpoints of the key go."""
        place = self._result_path(result.key)
        data = encode_result(result)
        winner = result
        if not self._objects.put_new(place, data):
            stored = self.get_result(result.key)
            if stored is None:
                self._objects.put(place, data)
            else:
                winner = stored
        self._objects.settle(place)
        self._clear_checkpoints(result.key)
        return winner

    def checkpoints(self, key: str) -> list[CheckpointRecord]:
        """Lists the checkpoints of a step, newest first; this store then materializes their digests.

        One that is torn is listed too and materializing it fails, so that whoever goes on from another can say so.
        """
        checkpoints = self._checkpoints(key)
        records = checkpoints.newest_first()
        self._checkpoint_areas.update({record.digest: checkpoints.area for record in records})
        return records

    def put_checkpoint(self, key: str, step: int, folder: Path, *, keep: int = 2, given: bool = False) -> None:
        """Stores a checkpoint and drops, blobs included, all older ones of this key but the `keep - 1` newest.

        Later ones stay until a checkpoint passes them: whoever stores this one may have refused them. given: as in
        `put_tree`.
        """
        self._forget(self._checkpoints(key).put(step, folder, keep=keep, given=given))

    def put_partial(self, key: str, attempt: str, folder: Path) -> Artifact:
        """Stores what a cancelled attempt leaves; it is never taken for the step's result. The folder is given."""
        artifact = self.put_tree(folder, given=True)
        now = datetime.now(UTC).isoformat()
        record = {"digest": artifact.digest, "size_bytes": artifact.size_bytes, "time": now}
        place = f"{self._root}/partials/{_name('key', key)}/{_name('attempt', attempt)}"
        self._objects.put(place, json.dumps(record).encode())
        self._objects.settle(place)
        return artifact

    def partials(self, key: str) -> dict[str, Artifact]:
        """Returns what cancelled attempts of a step left, by attempt, the newest last."""
        folder = f"{self._root}/partials/{_name('key', key)}"
        found: list[tuple[str, str, Artifact]] = []
        for attempt in self._objects.names(folder):
            record = json.loads(self._objects.get(f"{folder}/{attempt}") or b"{}")
            if record:
                left = Artifact(record["digest"], record["size_bytes"], is_tree=True)
                found.append((record["time"], attempt, left))
        return {attempt: left for _, attempt, left in sorted(found, key=lambda entry: entry[:2])}

    def is_reachable(self) -> bool:
        """Whether the store answers; asked by readiness probes."""
        try:
            self._objects.get(self._result_path("readiness"))
        except StorageUnavailable:
            return False
        return True

    def _clear_checkpoints(self, key: str) -> None:
        """Frees the space of checkpoints no attempt will read again; the commit stands even where that fails."""
        try:
            self._forget(self._checkpoints(key).clear())
        except RepairError as error:
            _LOG.warning("checkpoints were not removed", extra={"key": key, "reason": error.reason})

    def _forget(self, dropped: Iterable[CheckpointRecord]) -> None:
        """Removes local copies too: a hard link would keep the space of a deleted blob."""
        for record in dropped:
            self._checkpoint_areas.pop(record.digest, None)
            if not self._area.has_tree(record.digest):
                self._copies.forget_tree(record.digest)

    def _checkpoints(self, key: str) -> Checkpoints:
        return Checkpoints(self._objects, f"{self._root}/checkpoints/{_name('key', key)}")

    def _result_path(self, key: str) -> str:
        return f"{self._root}/results/{_name('key', key)}"

    def _area_of(self, digest: str) -> BlobArea:
        """Returns where a digest lies; a tree can be a checkpoint, soon dropped, and part of the project as well."""
        area = self._checkpoint_areas.get(digest)
        return self._area if area is None or self._area.has_tree(digest) else area

    def _cache_dir(self, given: Path | None) -> Path:
        inside = self._objects.local_path(f"{self._root}/cache")
        if given is not None:
            return given / self._root
        if inside is not None:
            return inside
        self._temporary = tempfile.TemporaryDirectory(prefix="llm-repair-cache-")
        return Path(self._temporary.name)


def _name(field: str, value: str) -> str:
    """Returns `value` if it can be one part of a path."""
    if not _NAME.fullmatch(value):
        raise InvalidFields([FieldViolation(field, "must be 1 to 128 letters, digits, '-' or '_'")])
    return value


__all__ = ["ArtifactStore", "CheckpointRecord"]
