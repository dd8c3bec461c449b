"""Checks that files are the pinned ones before anything reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from llm_repair.core.errors import JudgeUnavailable


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_pins(judge: str, folder: Path, pins: Mapping[str, str]) -> None:
    """Compares files below `folder` with their pinned sha256.

    Raises:
      JudgeUnavailable: a file is missing or another one.
    """
    for name, pinned in pins.items():
        path = folder / name
        if not path.is_file():
            raise JudgeUnavailable(f"the judge {judge} lacks its file {name}", judge=judge, file=name)
        if sha256_of(path) != pinned:
            raise JudgeUnavailable(
                f"the file {name} of the judge {judge} is not the pinned one", judge=judge, file=name
            )


def digest_of_pins(pins: Mapping[str, str]) -> str:
    """Returns one digest for a set of pinned files: sha256 over their sorted lines `<sha256>  <name>`."""
    lines = "".join(f"{pinned}  {name}\n" for name, pinned in sorted(pins.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
