"""Trees: manifests that name blobs by relative path, as a model folder does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import rfc8785

from llm_repair.core.errors import ArtifactCorrupt, FieldViolation, InvalidFields
from llm_repair.core.execution import Artifact


def encode_tree(entries: Mapping[str, Artifact]) -> bytes:
    """Returns the canonical manifest (RFC 8785) of a tree; its sha256 is the tree's digest.

    Raises:
      InvalidFields: a path that could leave the folder it is unpacked into, or that is a file and a folder at once.
    """
    if violations := list(_path_violations(entries)):
        raise InvalidFields(violations)
    blobs = {path: {"digest": blob.digest, "size_bytes": blob.size_bytes} for path, blob in entries.items()}
    return rfc8785.dumps({"entries": cast("dict[str, object]", blobs)})  # pyright: ignore[reportArgumentType]


def decode_tree(manifest: bytes) -> dict[str, Artifact]:
    """Returns the entries of a manifest, sorted by path; its paths are checked again.

    Raises:
      ArtifactCorrupt: the bytes are not a manifest.
    """
    try:
        blobs = json.loads(manifest)["entries"]
        entries = {str(path): Artifact(blobs[path]["digest"], int(blobs[path]["size_bytes"])) for path in sorted(blobs)}
        encode_tree(entries)
    except (ValueError, KeyError, TypeError, InvalidFields) as error:
        raise ArtifactCorrupt("a tree's manifest cannot be read") from error
    return entries


def files_below(folder: Path) -> dict[str, Path]:
    """Returns every regular file below `folder` by its relative path, sorted.

    Raises:
      InvalidFields: a link, socket or device, whose content is not the folder's own.
    """
    files: dict[str, Path] = {}
    odd: list[str] = []
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if place.is_symlink() or not (place.is_file() or place.is_dir()):
            odd.append(name)
        elif place.is_file():
            files[name] = place
    if odd:
        raise InvalidFields(FieldViolation(f"entries[{name!r}]", "must be a regular file") for name in odd)
    return files


def _path_violations(paths: Iterable[str]) -> Iterable[FieldViolation]:
    names = set(paths)
    for name in sorted(names):
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\\" in name or any(ord(c) < 32 for c in name):
            yield FieldViolation(f"entries[{name!r}]", "must be a relative path without '.', '..' or empty parts")
        elif not name.isascii() and not _is_unicode(name):
            yield FieldViolation(f"entries[{name!r}]", "must be a name in UTF-8")
        elif any("/".join(parts[:depth]) in names for depth in range(1, len(parts))):
            yield FieldViolation(f"entries[{name!r}]", "must not lie below another entry")


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
