"""Data sets in the store: JSON lines sorted by id, so that the order of a source never matters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import Artifact, Json

FIELDS = ("prompt", "chosen", "rejected", "text")
"""Fields of a row besides its id; reserved, so that no passed-through column has one of these names."""


@dataclass(frozen=True)
class Row:
    """One row of a pool, of prompts or of texts; a field the kind does not have is empty."""

    id: str
    """Unique in the data set; the only part of a row that may be logged."""
    prompt: str = ""
    chosen: str = ""
    """Wanted continuation, y+."""
    rejected: str = ""
    """Unwanted continuation, y−; may be empty in a pool."""
    text: str = ""
    extra: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Columns passed through from the source."""

    @property
    def group(self) -> str:
        """The group it belongs to; empty if to none."""
        return str(self.extra.get("group", ""))

    @property
    def label(self) -> bool:
        """Of a labelled text, whether it is toxic."""
        return self.extra["label"] is True


def write_rows(store: ArtifactStore, rows: Iterable[Row]) -> Artifact:
    """Stores rows as one blob: a line of compact JSON with sorted keys for each, sorted by id, empty fields left out.

    Raises:
      DatasetInvalid: an id is empty or used twice, or text is not Unicode (a lone surrogate).
      ValueError: an extra column has the name of a field, or a number is NaN or infinite.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    for row, following in itertools.pairwise(ordered):
        if row.id == following.id:
            raise DatasetInvalid("an id is used by two rows", id=row.id)
    if ordered and not ordered[0].id:
        raise DatasetInvalid("a row has no id")
    try:
        return store.put_bytes(b"".join(row_line(row) for row in ordered))
    except UnicodeEncodeError as error:
        raise DatasetInvalid("a row holds text that is not Unicode") from error


def read_rows(store: ArtifactStore, digest: str) -> list[Row]:
    """Returns the rows of a stored data set, in its order: by id.

    Raises:
      ArtifactNotFound, ArtifactCorrupt: as the store does.
      DatasetInvalid: the blob is not a data set.
    """
    lines = store.get_bytes(digest).splitlines()
    return [_parsed(line, number, digest) for number, line in enumerate(lines, start=1)]


def iterate_rows(store: ArtifactStore, digest: str) -> Iterator[Row]:
    """Yields the rows of a stored data set, in its order, one at a time: however many, they never lie in memory.

    Raises:
      ArtifactNotFound, ArtifactCorrupt: as the store does.
      DatasetInvalid: the blob is not a data set, or its ids do not ascend.
    """
    path = store.materialize(digest)
    if not path.is_file():
        raise DatasetInvalid("the artifact is a tree, not a data set", digest=digest)
    previous = ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = _parsed(line, number, digest)
            if row.id <= previous:
                raise DatasetInvalid(f"the id of line {number} does not ascend", line=number, digest=digest)
            previous = row.id
            yield row


def row_line(row: Row) -> bytes:
    """Returns the stored form of a row, with the final newline."""
    if taken := {"id", *FIELDS} & set(row.extra):
        raise ValueError(f"extra columns must not be named {sorted(taken)}")
    members: dict[str, Json] = {name: value for name in FIELDS if (value := getattr(row, name))}
    text = json.dumps(
        {**row.extra, **members, "id": row.id},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return text.encode("utf-8") + b"\n"


def _parsed(line: bytes, number: int, digest: str) -> Row:
    try:
        return _row(json.loads(line))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DatasetInvalid(f"line {number} is not a row", line=number, digest=digest) from error


def _row(members: dict[str, Any]) -> Row:
    texts = {name: members.pop(name, "") for name in ("id", *FIELDS)}
    if not texts["id"] or not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a field is not text")
    return Row(**texts, extra=members)
