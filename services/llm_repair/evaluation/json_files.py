"""Writes JSON files that are the same for the same content: keys sorted, compact, never NaN."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from llm_repair.core.execution import Json


def write_lines(path: Path, lines: Iterable[Mapping[str, Json]]) -> None:
    """Writes one object a line, and the folder if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json_line(line) for line in lines)


def write_json(path: Path, document: Json) -> None:
    """Writes one document on one line."""
    path.write_text(json_line(document), encoding="utf-8")


def json_line(document: Json) -> str:
    """Returns the document with the final newline."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
