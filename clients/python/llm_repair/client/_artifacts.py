"""Moves artifacts between the store and local files, verified and resumable."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, cast

import grpc
from grpc import aio

from llm_repair.client._errors import DataLoss, NotFound, error_from_call, is_from_transport
from llm_repair.client._transport import RETRY_WINDOW_S, Transport, delays, retrying
from llm_repair.v1 import artifact_pb2 as pb
from llm_repair.v1 import types_pb2

_CHUNK_BYTES: Final = 1 << 20
_SILENCE_S: Final = 60.0
_UPLOAD_DEADLINE_S: Final = 3600.0


async def download(transport: Transport, digest: str, into: Path) -> Path:
    """Fetches a blob into a file or a tree into a folder; see `RepairClient.download`."""
    request = pb.StatArtifactRequest(digest=digest)
    artifact = (await transport.unary(transport.artifacts.StatArtifact, request)).artifact
    if artifact.is_tree:
        await _download_tree(transport, digest, into)
    else:
        await _download_blob(transport, artifact, into)
    return into


async def upload(transport: Transport, path: Path) -> types_pb2.Artifact:
    """Stores a file or folder; see `RepairClient.upload`."""
    files = await asyncio.to_thread(_files_below, path)
    if files is None:
        return await _upload_file(transport, path)
    entries = [pb.TreeEntry(path=name, blob=await _upload_file(transport, path / name)) for name in files]
    request = pb.CreateTreeRequest(entries=entries)
    return (await transport.unary(transport.artifacts.CreateTree, request)).artifact


async def _download_tree(transport: Transport, digest: str, into: Path) -> None:
    """Fills a folder beside `into`, then renames it, so that `into` is never a half of something."""
    listing = await transport.unary(transport.artifacts.ListTree, pb.ListTreeRequest(digest=digest))
    blobs = {_safe(entry.path): entry.blob for entry in listing.entries}
    if await asyncio.to_thread(_holds_tree, into, blobs):
        return
    aside = _aside(into, digest)
    for path, blob in blobs.items():
        await _download_blob(transport, blob, aside / path)
    _put_in_place(aside, into)


async def _download_blob(transport: Transport, blob: types_pb2.Artifact, into: Path) -> None:
    if await asyncio.to_thread(_holds_blob, into, blob):
        return
    # What an earlier try left may have been torn by a crash; then the damage is not the store's.
    for _ in range(2):
        partial = await asyncio.to_thread(_PartialFile, _aside(into, blob.digest))
        try:
            await _fetch(transport, blob, partial)
        finally:
            partial.close()
        if partial.digest() == blob.digest:
            partial.path.replace(into)
            return
        partial.path.unlink()
        if not partial.was_begun:
            break
    raise DataLoss("the bytes received do not have their digest", metadata={"digest": blob.digest})


async def _fetch(transport: Transport, blob: types_pb2.Artifact, partial: _PartialFile) -> None:
    """Reads on from where the partial file ends, over as many streams as it takes."""
    pauses, give_up_at = delays(), time.monotonic() + RETRY_WINDOW_S
    while partial.size < blob.size_bytes:
        try:
            async with contextlib.aclosing(_chunks(transport, blob.digest, partial.size)) as chunks:
                async for chunk in chunks:
                    partial.append(chunk)
                    pauses, give_up_at = delays(), time.monotonic() + RETRY_WINDOW_S
            if partial.size < blob.size_bytes:
                raise DataLoss("the store sent less than the artifact's size", metadata={"digest": blob.digest})
        except aio.AioRpcError as error:
            gone = error.code() is grpc.StatusCode.UNAVAILABLE or is_from_transport(error)
            if not gone or time.monotonic() > give_up_at:
                raise error_from_call(error) from error
            await asyncio.sleep(next(pauses))


async def _chunks(transport: Transport, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
    """Yields the bytes from an offset on, each chunk checked against the stream's running digest."""
    request = pb.DownloadBlobRequest(digest=digest, offset=offset)
    call = transport.artifacts.DownloadBlob(request, metadata=transport.metadata)
    running = hashlib.sha256()
    try:
        while True:
            async with asyncio.timeout(_SILENCE_S):
                message = await call.read()
            if message is aio.EOF:
                return
            chunk = cast(pb.DownloadBlobResponse, message)
            running.update(chunk.data)
            if chunk.offset != offset or (chunk.running_sha256 and chunk.running_sha256 != running.hexdigest()):
                raise DataLoss("a chunk arrived out of place or damaged", metadata={"digest": digest})
            offset += len(chunk.data)
            yield chunk.data
    except TimeoutError as error:
        details = f"nothing heard for {_SILENCE_S:.0f} s"
        raise aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), details) from error
    finally:
        call.cancel()


class _PartialFile:
    """A file that grows; what an earlier try left in it is kept and counted into the digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.was_begun = path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.was_begun:
            for chunk in _read(path):
                self._sha256.update(chunk)
                self.size += len(chunk)
        self._file = path.open("ab")

    def append(self, chunk: bytes) -> None:
        """Writes on."""
        self._file.write(chunk)
        self._sha256.update(chunk)
        self.size += len(chunk)

    def digest(self) -> str:
        """Returns the digest of all bytes so far."""
        return f"sha256:{self._sha256.hexdigest()}"

    def close(self) -> None:
        """Writes what is buffered."""
        self._file.close()


async def _upload_file(transport: Transport, path: Path) -> types_pb2.Artifact:
    digest = await asyncio.to_thread(_digest_of, path)
    request = pb.StatArtifactRequest(digest=digest)
    try:
        return (await transport.unary(transport.artifacts.StatArtifact, request)).artifact
    except NotFound:
        pass

    async def call() -> types_pb2.Artifact:
        method = transport.artifacts.UploadBlob
        stream = method(_upload_requests(path, digest), timeout=_UPLOAD_DEADLINE_S, metadata=transport.metadata)
        return (await stream).artifact

    return await retrying(call)


def _upload_requests(path: Path, digest: str) -> Iterator[pb.UploadBlobRequest]:
    expected = digest
    for chunk in _read(path):
        yield pb.UploadBlobRequest(data=chunk, expected_digest=expected)
        expected = ""
    if expected:
        yield pb.UploadBlobRequest(expected_digest=expected)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _files_below(path: Path) -> list[str] | None:
    """Returns the relative path of every file below a folder, sorted; None for a file.

    Links to files are followed, as model caches need; links to folders are not.
    """
    if not path.is_dir():
        return None
    found = [Path(root) / name for root, _, names in os.walk(path) for name in names]
    return sorted(file.relative_to(path).as_posix() for file in found if file.is_file())


def _holds_tree(into: Path, blobs: dict[str, types_pb2.Artifact]) -> bool:
    """Returns whether `into` holds the tree already; raises if it holds anything else."""
    if not into.exists() or (into.is_dir() and not any(into.iterdir())):
        return False
    if all((into / path).is_file() and _digest_of(into / path) == blob.digest for path, blob in blobs.items()):
        return True
    raise FileExistsError(f"{into} holds something else; choose another folder")


def _holds_blob(into: Path, blob: types_pb2.Artifact) -> bool:
    """Returns whether `into` holds the blob already; raises if it holds anything else."""
    if not into.exists():
        return False
    if into.is_file() and _digest_of(into) == blob.digest:
        return True
    raise FileExistsError(f"{into} holds something else; choose another place")


def _put_in_place(aside: Path, into: Path) -> None:
    aside.mkdir(exist_ok=True)  # A tree without files never made it.
    if into.exists():
        into.rmdir()
    aside.rename(into)


def _aside(into: Path, digest: str) -> Path:
    """Returns where `into` grows: beside it, on the same file system, and found again by a later try."""
    return into.with_name(f".{into.name}.{digest.removeprefix('sha256:')[:12]}.partial")


def _safe(path: str) -> str:
    """Returns a tree's path if it stays below the folder it is written into; a store is not trusted with that."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or str(pure) != path:
        raise DataLoss("the tree holds a path that leaves its folder")
    return path
