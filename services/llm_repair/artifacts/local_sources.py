"""`file:` references: files and folders under allowed roots, and nothing else of the machine."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from llm_repair.artifacts.digests import digest_of, digest_of_file, read_chunks
from llm_repair.artifacts.objects import storage_errors
from llm_repair.artifacts.trees import encode_tree
from llm_repair.core.errors import ReferenceNotAllowed, ReferenceNotFound, SourceChanged
from llm_repair.core.execution import Artifact

_OUTSIDE = "the path is not under an allowed root"


def allowed_place(path: Path, roots: tuple[Path, ...]) -> Path:
    """Returns the real file or folder at `path`, links resolved.

    Raises:
      ReferenceNotAllowed: it is, or would be, outside every root; the same whether or not something is there.
      ReferenceNotFound: it is inside, and no regular file or folder is there.
    """
    try:
        place = Path(os.path.realpath(path))
        real_roots = [Path(os.path.realpath(root)) for root in roots]
    except (OSError, ValueError):
        raise ReferenceNotAllowed(_OUTSIDE) from None
    if not any(place.is_relative_to(root) for root in real_roots):
        raise ReferenceNotAllowed(_OUTSIDE)
    try:
        found = place.is_file() or place.is_dir()
    except OSError:
        found = False
    if not found:
        raise ReferenceNotFound("no file or folder is at this path under the allowed roots")
    return place


def local_digest(place: Path, roots: tuple[Path, ...]) -> str:
    """Returns the sha256 of a file, or the digest of the tree a folder would be stored as."""
    with storage_errors():
        if place.is_file():
            return digest_of_file(place)
        files = local_files(place, roots)
        return _folder_digest({name: (digest_of_file(file), file.stat().st_size) for name, file in files.items()})


def copy_local(place: Path, roots: tuple[Path, ...], expected_digest: str, into: Path) -> Path:
    """Copies a file or folder below `into`, hashing what is copied; links become the files they point to.

    Raises:
      SourceChanged: the content does not have the expected digest; the copy is removed.
    """
    target = into / place.name
    with storage_errors():
        if place.is_file():
            digest, _ = _copy(place, target)
        else:
            target.mkdir()
            copied = {name: _copy(file, target / name) for name, file in local_files(place, roots).items()}
            digest = _folder_digest(copied)
    if digest != expected_digest:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        raise SourceChanged(expected=expected_digest, found=digest)
    return target


def local_files(folder: Path, roots: tuple[Path, ...]) -> dict[str, Path]:
    """Returns the real files below a folder by relative path, sorted; a link may point to any file under a root.

    Raises:
      ReferenceNotAllowed: a link leads out of the roots or to a folder, or something is no regular file.
    """
    files: dict[str, Path] = {}
    for place in sorted(folder.rglob("*")):
        if place.is_dir() and not place.is_symlink():
            continue
        try:
            real = allowed_place(place, roots)
        except ReferenceNotFound as error:
            raise ReferenceNotAllowed("the folder holds something that is no file") from error
        if not real.is_file():
            raise ReferenceNotAllowed("the folder holds a link to a folder")
        files[place.relative_to(folder).as_posix()] = real
    return files


def _folder_digest(files: dict[str, tuple[str, int]]) -> str:
    return digest_of(encode_tree({name: Artifact(digest, size) for name, (digest, size) in files.items()}))


def _copy(source: Path, target: Path) -> tuple[str, int]:
    """Copies a file and returns digest and size of what was written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    state, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in read_chunks(source):
            state.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return f"sha256:{state.hexdigest()}", size
