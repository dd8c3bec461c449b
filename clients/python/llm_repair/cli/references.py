"""Turns what a person types for a model or data set into a reference the coordinator understands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import UsageError
from llm_repair.client import dataset, parse_slice
from llm_repair.v1 import types_pb2

_SCHEMES: Final = ("hf:", "s3:", "pypi:", "artifact:")
_FORMATS: Final = {
    ".jsonl": types_pb2.DATASET_FORMAT_JSONL,
    ".gz": types_pb2.DATASET_FORMAT_JSONL,
    ".csv": types_pb2.DATASET_FORMAT_CSV,
    ".parquet": types_pb2.DATASET_FORMAT_PARQUET,
}


async def resolve(connection: Connection, typed: str) -> str:
    """Returns a reference: as typed, or for a local path `file:` where the coordinator sees it, else its upload.

    Raises:
      UsageError: neither a known scheme nor an existing path.
    """
    if typed.startswith(_SCHEMES):
        return typed
    path = await asyncio.to_thread(_existing, typed.removeprefix("file:"))
    if path is None:
        if typed.startswith("file:/"):
            return typed  # A path on the server's machine, perhaps; the server says if it is not.
        raise UsageError(f"{typed} is neither a reference (hf:, file:, s3:, pypi:, artifact:) nor an existing path")
    if connection.is_embedded or typed.startswith("file:/"):
        return f"file:{path}"
    artifact = await connection.client.upload(path)
    return f"artifact:{artifact.digest}"


async def resolve_dataset(connection: Connection, typed: str, part: str | None = None) -> types_pb2.DatasetRef:
    """Returns a data set for `REF` or `REF@start:end`, or with the slice given apart."""
    found = dataset(typed)
    reference = found.reference
    found.reference = await resolve(connection, reference)
    if found.reference.startswith("artifact:") and found.reference != reference:
        # An artifact has no file name that would tell its format.
        found.format = _FORMATS.get(Path(reference).suffix, types_pb2.DATASET_FORMAT_UNSPECIFIED)
    if part is not None:
        found.slice.start, found.slice.end = parse_slice(part)
    return found


def _existing(typed: str) -> Path | None:
    path = Path(typed).expanduser()
    return path.resolve() if path.exists() else None
