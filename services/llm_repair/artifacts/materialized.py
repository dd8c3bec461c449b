"""Local, read-only copies of stored blobs and trees, for libraries that only read paths."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from llm_repair.artifacts.blobs import BlobArea
from llm_repair.artifacts.digests import digest_of_file, hex_of
from llm_repair.artifacts.objects import storage_errors
from llm_repair.artifacts.trees import files_below
from llm_repair.core.errors import ArtifactCorrupt, ArtifactNotFound, InvalidFields
from llm_repair.core.execution import Artifact

# Another file system, no permission for links, or too many links to one file: copy instead.
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP})


class LocalCopies:
    """Verified files and folders in `cache_dir`: hard links to a local store, downloads from a bucket.

    Every file is hashed before it is handed out. What was hashed is remembered by (device, inode, size, time of
    change) for the life of the process, so that a model of 500 MB is read once and not at every use.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._verified: dict[tuple[int, int, int, int], str] = {}

    def blob(self, area: BlobArea, digest: str) -> Path:
        """Returns a file with a blob's content; of a local store it is the stored file itself."""
        stored = area.objects.local_path(area.blob_path(digest))
        target = stored or self._cache_dir / "blobs" / hex_of(digest)
        with storage_errors():
            if target.is_file() and (stored is not None or self._is(target, digest)):
                self._verify(target, digest)
                return target
            if stored is not None:
                raise ArtifactNotFound(digest=digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
            try:
                self._place(area, digest, staged)
                staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)
        return target

    def tree(self, area: BlobArea, digest: str) -> Path:
        """Returns a folder with a tree's content. It appears whole or not at all."""
        entries = area.entries(digest)
        target = self._cache_dir / "trees" / hex_of(digest)
        with storage_errors():
            if self._folder_is(target, entries):
                return target
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix="staged-", dir=target.parent))
            try:
                for name, blob in entries.items():
                    place = staged / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    self._place(area, blob.digest, place)
                staged.chmod(0o755)
                self._install(staged, target, entries)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        return target

    def forget_tree(self, digest: str) -> None:
        """Removes the folder of a tree that will not be read again."""
        shutil.rmtree(self._cache_dir / "trees" / hex_of(digest), ignore_errors=True)

    def _install(self, staged: Path, target: Path, entries: Mapping[str, Artifact]) -> None:
        """Moves the folder to its place, where another process may have put its own, or an old one may be spoilt."""
        if target.exists() and not self._folder_is(target, entries):
            target.rename(staged.with_name(f"staged-spoilt-{uuid.uuid4().hex}"))
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not self._folder_is(target, entries):
                raise

    def _place(self, area: BlobArea, digest: str, target: Path) -> None:
        stored = area.objects.local_path(area.blob_path(digest))
        if stored is None:
            with target.open("wb") as file:
                for chunk in area.chunks(digest):
                    file.write(chunk)
            target.chmod(0o444)
        elif stored.is_file():
            self._verify(stored, digest)
            _link_or_copy(stored, target)
        else:
            raise ArtifactNotFound(digest=digest)
        self._verify(target, digest)

    def _folder_is(self, folder: Path, entries: Mapping[str, Artifact]) -> bool:
        try:
            files = files_below(folder) if folder.is_dir() else {}
        except InvalidFields:
            return False
        return (
            folder.is_dir()
            and set(files) == set(entries)
            and all(self._is(file, entries[name].digest) for name, file in files.items())
        )

    def _is(self, file: Path, digest: str) -> bool:
        try:
            self._verify(file, digest)
        except ArtifactCorrupt:
            return False
        return True

    def _verify(self, file: Path, digest: str) -> None:
        known = file.stat()
        identity = (known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns)
        if self._verified.get(identity) == digest:
            return
        if digest_of_file(file) != digest:
            raise ArtifactCorrupt(digest=digest)
        self._verified[identity] = digest


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        target.chmod(0o444)
