"""Objects by path in a folder or a bucket: one face of `obstore`, with our errors.

What a local folder promises (obstore 0.12, seen in its system calls): a put writes `<path>#1` beside its target
and then renames it (overwrite) or hard-links it (create), so no reader ever sees half an object; when the disk is
full the staged file is removed again, and a writer that was killed leaves one that listings hide. It never calls
fsync, so `settle` does, lest a power cut leave an empty object under a name that promises content.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url

from llm_repair.core.errors import StorageFull, StorageUnavailable

PART_BYTES = 8 * 2**20
"""Size of one part of a large upload; S3 allows 10,000 parts, so objects of up to 80 GB."""
PARTS_IN_FLIGHT = 4
"""Together with the part size this bounds the memory of an upload at 32 MB."""

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_TEXT = re.compile(
    "|".join([rf"\(os error (?:{'|'.join(str(number) for number in sorted(_FULL_ERRNOS))})\)", "StorageFull", "507 "])
)


class Objects:
    """Objects by path below one URL: `file:///folder`, `s3://bucket/prefix`, `gs://…` or `az://…`.

    Safe for use by several threads. Every method raises `StorageFull` when space or quota has run out, with
    nothing half-written left readable, and `StorageUnavailable` when the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        """Opens the store; a missing folder is created. Credentials of buckets come from the environment."""
        with storage_errors():
            try:
                self._store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
            except (ValueError, TypeError) as error:
                raise StorageUnavailable("the store URL is not of a known form", url=url) from error

    def get(self, path: str) -> bytes | None:
        """Returns the whole object, or None if there is none."""
        with storage_errors():
            try:
                return bytes(obstore.get(self._store, path).bytes())
            except FileNotFoundError:
                return None

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """Returns the object piece by piece, or None if there is none."""
        with storage_errors():
            try:
                stream = obstore.get(self._store, path).stream(min_chunk_size=2**20)
            except FileNotFoundError:
                return None
        return _translated(stream)

    def put(self, path: str, data: bytes) -> None:
        """Writes the object, replacing what was there, all at once."""
        with storage_errors():
            obstore.put(self._store, path, data, use_multipart=False)

    def put_new(self, path: str, data: bytes) -> bool:
        """Writes the object unless the path is taken; of several racing writers exactly one gets True."""
        with storage_errors():
            try:
                obstore.put(self._store, path, data, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def put_chunks(self, path: str, chunks: Iterable[bytes]) -> None:
        """Writes a large object piece by piece; it appears only when `chunks` has ended without an exception."""
        with storage_errors():
            obstore.put(self._store, path, iter(chunks), chunk_size=PART_BYTES, max_concurrency=PARTS_IN_FLIGHT)

    def adopt(self, path: str, file: Path) -> bool:
        """Moves a file into a local store, replacing what was there, all at once; False if it cannot be moved there.

        That is so in a bucket, and from another file system.
        """
        local = self.local_path(path)
        if local is None:
            return False
        with storage_errors():
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                file.replace(local)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return False
        return True

    def size(self, path: str) -> int | None:
        """Returns the size in bytes, or None if there is no such object."""
        with storage_errors():
            try:
                return obstore.head(self._store, path)["size"]
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Lists names directly in `folder`, sorted; of objects only."""
        with storage_errors():
            listed = obstore.list_with_delimiter(self._store, folder, return_arrow=False)["objects"]  # pyright: ignore[reportUnknownMemberType]
        return sorted(meta["path"].rsplit("/", 1)[-1] for meta in listed)

    def delete(self, path: str) -> None:
        """Removes the object if it is there."""
        with storage_errors(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, path)

    def local_path(self, path: str) -> Path | None:
        """Returns where a local folder keeps the object, or None for a bucket."""
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            return self._store.prefix / path
        return None

    def settle(self, path: str, *, read_only: bool = False) -> None:
        """Makes an object survive a power cut, and guards a local file against being written in place."""
        local = self.local_path(path)
        if local is None:
            return
        with storage_errors():
            if read_only:
                local.chmod(0o444)
            for place in (local, local.parent):
                _flush(place)


@contextlib.contextmanager
def storage_errors() -> Generator[None]:
    """Turns what the operating system or obstore raises into `StorageFull` or `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_ERRNOS:
            raise StorageFull from error
        raise StorageUnavailable(errno=error.errno) from error
    except BaseError as error:
        # obstore has no class of its own for a full disk, only the text of the system's error.
        if _FULL_TEXT.search(str(error)):
            raise StorageFull from error
        raise StorageUnavailable from error


def _translated(stream: Iterable[bytes]) -> Iterator[bytes]:
    chunks = iter(stream)
    while True:
        with storage_errors():
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield bytes(chunk)


def _flush(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
