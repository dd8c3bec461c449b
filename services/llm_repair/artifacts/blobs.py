"""Blobs and trees in one area of a store, filed under the digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from llm_repair.artifacts.digests import digest_of, digest_of_file, hex_of, read_chunks
from llm_repair.artifacts.objects import PART_BYTES, Objects
from llm_repair.artifacts.trees import decode_tree, encode_tree, files_below
from llm_repair.core.errors import ArtifactCorrupt, ArtifactNotFound
from llm_repair.core.execution import Artifact

_FILES_AT_ONCE = 2
"""Of a tree: one is hashed while another is written through. Bounds memory with the parts in flight of each."""


class BlobArea:
    """Blobs at `<prefix>/blobs/sha256/ab/<hex>` and manifests at `<prefix>/trees/sha256/ab/<hex>`.

    Manifests have a folder of their own, so that no uploaded blob can pass for a tree.
    """

    def __init__(self, objects: Objects, prefix: str) -> None:
        self.objects = objects
        self._prefix = prefix

    def blob_path(self, digest: str) -> str:
        """Returns the path of the object that holds a blob."""
        return f"{self._prefix}/blobs/{_spread(digest)}"

    def tree_path(self, digest: str) -> str:
        """Returns the path of the object that holds a tree's manifest."""
        return f"{self._prefix}/trees/{_spread(digest)}"

    def put_bytes(self, data: bytes) -> Artifact:
        """Stores a blob unless it is there already."""
        digest = digest_of(data)
        self._put(self.blob_path(digest), digest, data)
        return Artifact(digest, len(data))

    def put_file(self, path: Path, *, given: bool = False) -> Artifact:
        """Stores a file as a blob, reading it piece by piece; nothing is sent when the blob is there already.

        given: the caller has no more use for the file and nobody writes to it, so a store on the same file system takes
        it instead of a copy.

        Raises:
          ArtifactCorrupt: the file changed while it was copied; nothing was kept.
        """
        size = path.stat().st_size
        if size <= PART_BYTES:
            return self.put_bytes(path.read_bytes())
        digest = digest_of_file(path)
        place = self.blob_path(digest)
        if not self._holds(place, digest, size):
            if not (given and self.objects.adopt(place, path)):
                self.objects.put_chunks(place, _while_unchanged(path, digest))
            self.objects.settle(place, read_only=True)
        return Artifact(digest, size)

    def put_tree(self, folder: Path, *, given: bool = False) -> Artifact:
        """Stores every regular file below `folder`, and the manifest last, so that a tree is never torn.

        given: as in `put_file`, of all of them.
        """
        files = files_below(folder)
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            blobs = list(pool.map(partial(self.put_file, given=given), files.values()))
        return self._put_manifest(dict(zip(files, blobs, strict=True)))

    def put_entries(self, entries: Mapping[str, Artifact]) -> Artifact:
        """Makes a tree of blobs that are stored already.

        Raises:
          ArtifactNotFound: one of them is not, or has another size.
        """
        for blob in entries.values():
            if self.objects.size(self.blob_path(blob.digest)) != blob.size_bytes:
                raise ArtifactNotFound(digest=blob.digest)
        return self._put_manifest(entries)

    def get_bytes(self, digest: str) -> bytes:
        """Returns a blob after checking its digest."""
        return self._verified(self.blob_path(digest), digest)

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Returns a blob piece by piece; a wrong digest is raised before the last piece."""
        pieces = self.objects.chunks(self.blob_path(digest))
        if pieces is None:
            raise ArtifactNotFound(digest=digest)
        return _checked(pieces, digest)

    def entries(self, digest: str) -> dict[str, Artifact]:
        """Returns the blobs of a tree by relative path, sorted."""
        return decode_tree(self._verified(self.tree_path(digest), digest))

    def stat(self, digest: str) -> Artifact:
        """Returns kind and size of what has this digest.

        Raises:
          ArtifactNotFound: nothing has.
        """
        size = self.objects.size(self.blob_path(digest))
        if size is not None:
            return Artifact(digest, size)
        return Artifact(digest, sum(blob.size_bytes for blob in self.entries(digest).values()), is_tree=True)

    def has_tree(self, digest: str) -> bool:
        """Tells whether this digest is that of a tree here."""
        return self.objects.size(self.tree_path(digest)) is not None

    def _put_manifest(self, entries: Mapping[str, Artifact]) -> Artifact:
        manifest = encode_tree(entries)
        digest = digest_of(manifest)
        self._put(self.tree_path(digest), digest, manifest)
        return Artifact(digest, sum(blob.size_bytes for blob in entries.values()), is_tree=True)

    def _put(self, place: str, digest: str, data: bytes) -> None:
        if not self._holds(place, digest, len(data)):
            self.objects.put(place, data)
            self.objects.settle(place, read_only=True)

    def _holds(self, place: str, digest: str, size: int) -> bool:
        """Tells whether content need not be stored again. In a folder it is read, so that doing a step again heals a
        blob that the disk has spoilt; of a bucket, which checks its own disks, the size is enough.
        """
        if self.objects.size(place) != size:
            return False
        local = self.objects.local_path(place)
        return local is None or digest_of_file(local) == digest

    def _verified(self, place: str, digest: str) -> bytes:
        data = self.objects.get(place)
        if data is None:
            raise ArtifactNotFound(digest=digest)
        if digest_of(data) != digest:
            raise ArtifactCorrupt(digest=digest)
        return data


def _spread(digest: str) -> str:
    """Spreads objects over 256 folders, since some file systems slow down with very many names in one."""
    name = hex_of(digest)
    return f"sha256/{name[:2]}/{name}"


def _while_unchanged(path: Path, digest: str) -> Iterator[bytes]:
    """Reads a file that must still have `digest`; raising before the end makes the store drop the upload."""
    return _checked(read_chunks(path), digest)


def _checked(pieces: Iterator[bytes], digest: str) -> Iterator[bytes]:
    """Passes pieces on and raises `ArtifactCorrupt` in place of the last one's end if they do not add up to `digest`.

    One piece is held back, so that whoever counts bytes never has the full number of a wrong content.
    """
    state = hashlib.sha256()
    held = b""
    for piece in pieces:
        state.update(piece)
        if held:
            yield held
        held = piece
    if f"sha256:{state.hexdigest()}" != digest:
        raise ArtifactCorrupt(digest=digest)
    if held:
        yield held
