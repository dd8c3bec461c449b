"""Digests of bytes and files: `sha256:` and 64 hex digits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from llm_repair.core.errors import ArtifactNotFound

CHUNK_BYTES = 2**20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def digest_of(data: bytes) -> str:
    """Returns the digest of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def hex_of(digest: str) -> str:
    """Returns the 64 hex digits of a digest.

    Raises:
      ArtifactNotFound: it is none, so nothing can have it; also keeps made-up paths out of the store.
    """
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise ArtifactNotFound("a digest is 'sha256:' and 64 hex digits")
    return found.group(1)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Reads a file piece by piece."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def digest_of_file(path: Path) -> str:
    """Returns the digest of a file of any size in constant memory."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
