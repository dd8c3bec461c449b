"""Where a record has what a row needs: in columns, in objects and lists within them, and as known data sets have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from llm_repair.artifacts.source_files import Record
from llm_repair.core.references import DatasetKind, FieldMap

KIND_FIELDS: Final = {
    DatasetKind.POOL: ("prompt", "chosen", "rejected"),
    DatasetKind.PROMPTS: ("prompt",),
    DatasetKind.TEXTS: ("text",),
    DatasetKind.UNPAIRED_POOL: ("prompt", "chosen", "rejected"),
    DatasetKind.LINES: ("text",),
    DatasetKind.SENTENCE_PAIRS: ("chosen", "rejected"),
    DatasetKind.LABELLED_TEXTS: ("text",),
}
"""Fields that hold texts."""
_LISTED: Final = {DatasetKind.PROMPTS: "prompt", DatasetKind.TEXTS: "text"}
"""Kinds of which a record may hold several rows, as a list in this field."""
_REAL_TOXICITY_PROMPTS: Final = {"prompt": "prompt.text"}
_BOLD: Final = {"prompt": "prompts", "group": "category"}
_CROWS_PAIRS: Final = {"chosen": "sent_less", "rejected": "sent_more", "group": "bias_type"}
_RELEASED: Final[Mapping[DatasetKind, Sequence[Mapping[str, str]]]] = {
    DatasetKind.PROMPTS: (_REAL_TOXICITY_PROMPTS, _BOLD),
    DatasetKind.SENTENCE_PAIRS: (_CROWS_PAIRS,),
}
"""Columns of data sets as they are released."""


def fields_of(record: Record, fields: FieldMap, kind: DatasetKind) -> FieldMap:
    """Returns the field map, with the columns of a known data set where it names none and the record has no others."""
    texts = KIND_FIELDS[kind]
    if any(getattr(fields, name) for name in texts) or all(isinstance(record.columns.get(name), str) for name in texts):
        return fields
    for released in _RELEASED.get(kind, ()):
        if all(isinstance(value_at(record.columns, released[name]), str | list) for name in texts):
            return replace(fields, **{name: column for name, column in released.items() if not getattr(fields, name)})
    return fields


def spread(record: Record, fields: FieldMap, kind: DatasetKind) -> Iterator[Record]:
    """Yields a record for each text of a list, where the kind may have one; any other record as it is."""
    field = _LISTED.get(kind)
    column = (getattr(fields, field) or field) if field else ""
    texts, id_column = record.columns.get(column), fields.id or "id"
    if not isinstance(texts, list) or not texts:
        yield record
        return
    given = record.columns.get(id_column)
    for number, text in enumerate(cast("list[object]", texts), start=1):
        own = {id_column: f"{given}-{number}"} if isinstance(given, str | int) and given != "" else {}
        yield Record(record.number, {**record.columns, **own, column: text})


def value_at(columns: Mapping[str, object], column: str) -> object:
    """Returns what a column holds, or where there is none of that name what its path leads to; None for nothing."""
    if column in columns:
        return columns[column]
    name, _, rest = column.partition(".")
    inner = columns.get(name)
    return value_at(cast("Mapping[str, object]", inner), rest) if rest and isinstance(inner, Mapping) else None
