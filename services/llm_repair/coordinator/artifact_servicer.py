"""Serves the artifact store to clients: by digest only, in chunks."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator import wire
from llm_repair.core.errors import FieldViolation, InvalidFields, NotCarriedOut
from llm_repair.core.execution import Artifact
from llm_repair.rpc.execution_messages import artifact_of
from llm_repair.v1 import artifact_pb2 as pb
from llm_repair.v1 import artifact_pb2_grpc as grpc_pb

_CHUNK_BYTES: Final = 1 << 20


class ArtifactServicer(grpc_pb.ArtifactServiceServicer):
    """Carries out `llm_repair.v1.ArtifactService`."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def StatArtifact(self, request: pb.StatArtifactRequest, context: object) -> pb.StatArtifactResponse:
        artifact = await asyncio.to_thread(self._store.stat, request.digest)
        return pb.StatArtifactResponse(artifact=wire.artifact(artifact))

    async def ListTree(self, request: pb.ListTreeRequest, context: object) -> pb.ListTreeResponse:
        entries = await asyncio.to_thread(self._store.entries, request.digest)
        return pb.ListTreeResponse(
            entries=[pb.TreeEntry(path=path, blob=wire.artifact(blob)) for path, blob in sorted(entries.items())]
        )

    async def DownloadBlob(
        self, request: pb.DownloadBlobRequest, context: object
    ) -> AsyncIterator[pb.DownloadBlobResponse]:
        if request.offset < 0:
            raise InvalidFields([FieldViolation("offset", "must not be negative")])
        path = await asyncio.to_thread(self._store.materialize, request.digest)
        if path.is_dir():
            raise InvalidFields([FieldViolation("digest", "is a tree; list it and download its blobs")])
        digest, offset = hashlib.sha256(), request.offset
        while data := await asyncio.to_thread(_read_at, path, offset):
            digest.update(data)
            yield pb.DownloadBlobResponse(offset=offset, data=data, running_sha256=digest.hexdigest())
            offset += len(data)

    async def UploadBlob(
        self, request_iterator: AsyncIterator[pb.UploadBlobRequest], context: object
    ) -> pb.UploadBlobResponse:
        with tempfile.NamedTemporaryFile() as spool:
            expected = ""
            async for chunk in request_iterator:
                if len(chunk.data) > _CHUNK_BYTES:
                    raise InvalidFields([FieldViolation("data", "has more than 1 MiB")])
                expected = expected or chunk.expected_digest
                await asyncio.to_thread(spool.write, chunk.data)
            spool.flush()
            artifact = await asyncio.to_thread(self._put, Path(spool.name), expected)
        return pb.UploadBlobResponse(artifact=wire.artifact(artifact))

    async def CreateTree(self, request: pb.CreateTreeRequest, context: object) -> pb.CreateTreeResponse:
        entries = {entry.path: artifact_of(entry.blob) for entry in request.entries}
        artifact = await asyncio.to_thread(self._store.put_entries, entries)
        return pb.CreateTreeResponse(artifact=wire.artifact(artifact))

    async def PinArtifact(self, request: pb.PinArtifactRequest, context: object) -> pb.PinArtifactResponse:
        raise NotCarriedOut("nothing is ever collected yet, so there is nothing to pin against", what="pin")

    async def UnpinArtifact(self, request: pb.UnpinArtifactRequest, context: object) -> pb.UnpinArtifactResponse:
        raise NotCarriedOut("nothing is ever collected yet, so there is nothing to unpin", what="unpin")

    def _put(self, path: Path, expected: str) -> Artifact:
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if expected and found != expected:
            raise InvalidFields([FieldViolation("expected_digest", f"is not that of the bytes sent, {found}")])
        return self._store.put_file(path)


def _read_at(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK_BYTES)
