"""From records of a source file to rows: field map, faults, ids, duplicates, slices."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import rfc8785

from llm_repair.artifacts.columns import KIND_FIELDS, fields_of, spread, value_at
from llm_repair.artifacts.datasets import FIELDS, Row, row_line
from llm_repair.artifacts.source_files import Record
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import Json
from llm_repair.core.references import DatasetKind, DatasetRef, FieldMap, HashSlice, normalized

OPTIONAL_FIELDS = {
    DatasetKind.POOL: frozenset({"rejected"}),
    DatasetKind.UNPAIRED_POOL: frozenset({"chosen", "rejected"}),
}
MAX_ID_CHARACTERS = 256
NAMED_ROWS = 10
"""So many of the bad rows are named; all are counted."""


@dataclass(frozen=True)
class BadRow:
    """A record that is no row."""

    number: int
    fault: str


@dataclass(frozen=True)
class ImportedRows:
    """What became of a source file."""

    rows: tuple[Row, ...]
    """Those meant by the reference, sorted by id."""
    total: int
    """Records in the source, each text of a list by itself."""
    bad: tuple[BadRow, ...]
    duplicates: int
    """Records equal to another, of which one row was kept."""


def rows_from(records: Iterable[Record], source: DatasetRef, kind: DatasetKind) -> ImportedRows:
    """Makes rows of records and keeps those that the reference means.

    * A row without an id gets one from its content, so equal rows are one. Of rows that share a given id but differ,
      the one first in stored form stays and the others are bad: a rule that does not depend on the file's order.
    * Of TEXTS, documents equal after normalisation are one, since some sources repeat a passage for each question.
    * Of an UNPAIRED_POOL, a row with neither `chosen` nor `rejected` has its `completion` as the one that `label` says.
    * LINES have their numbers as ids, whatever else the source calls them; `max_rows` keeps the first.
    * A column may be named by its path into objects, such as `prompt.text`. Where the columns of the texts are neither
      named nor there by the names of their fields, they are looked for as RealToxicityPrompts, BOLD and CrowS-Pairs
      have them.
    * A list of prompts or of texts, as in BOLD, is as many rows; to an id each adds its number, from 1.
    * Other columns pass through, except those named like a field; the group is passed as `group`, the label of
      LABELLED_TEXTS as `label`.

    Raises:
      DatasetInvalid: no row is left, or more than `max_bad_row_share` of the records are bad; with the counts and
        the first bad rows by number, never their text. Or a slice of LINES is asked for, which have no key text.
    """
    if kind is DatasetKind.LINES and source.slice:
        raise DatasetInvalid("the lines of a running text cannot be divided by hash; use max_rows")
    candidates: list[tuple[int, Row]] = []
    bad: list[BadRow] = []
    total = 0
    for record, fields in _single(records, source.fields, kind):
        total += 1
        row = _row(record, fields, kind)
        bad.append(row) if isinstance(row, BadRow) else candidates.append((record.number, row))
    rows, clashes, duplicates = _distinct(candidates, by_text=kind is DatasetKind.TEXTS)
    bad = sorted([*bad, *clashes], key=lambda row: row.number)
    _refuse_bad(bad, total, source.max_bad_row_share)
    kept = rows[: source.max_rows] if kind is DatasetKind.LINES else _sliced(rows, source.slice, source.max_rows)
    if not kept:
        raise DatasetInvalid("no usable row is left", total_rows=total, bad_rows=len(bad), usable_rows=len(rows))
    return ImportedRows(tuple(sorted(kept, key=lambda row: row.id)), total, tuple(bad), duplicates)


def hash_fraction(row: Row) -> float:
    """Returns where the row falls in [0, 1): see `HashSlice`."""
    return _key_hash(row) / 2**64


def _key_hash(row: Row) -> int:
    key_text = row.prompt or row.text or row.chosen
    return int.from_bytes(hashlib.sha256(normalized(key_text).encode("utf-8")).digest()[:8], "big")


def _single(records: Iterable[Record], fields: FieldMap, kind: DatasetKind) -> Iterator[tuple[Record, FieldMap]]:
    for record in records:
        known = fields_of(record, fields, kind)
        yield from ((one, known) for one in spread(record, known, kind))


def _row(record: Record, fields: FieldMap, kind: DatasetKind) -> Row | BadRow:
    if record.fault:
        return BadRow(record.number, record.fault)
    if kind is DatasetKind.UNPAIRED_POOL:
        record = _sided(record, fields)
        if record.fault:
            return BadRow(record.number, record.fault)
    columns = {name: getattr(fields, name) or name for name in ("id", "group", *KIND_FIELDS[kind])}
    if kind is DatasetKind.LABELLED_TEXTS:
        columns["label"] = fields.label or "label"
    texts: dict[str, str] = {}
    for name in KIND_FIELDS[kind]:
        value = value_at(record.columns, columns[name])
        if fault := _text_fault(value, kind, name):
            return BadRow(record.number, f"{columns[name]}: {fault}")
        texts[name] = value if isinstance(value, str) and value.strip() else ""
        if kind is DatasetKind.LINES:
            texts[name] = texts[name].rstrip("\r\n")  # some sources keep the ends of their lines
    if kind is DatasetKind.UNPAIRED_POOL and not (texts["chosen"] or texts["rejected"]):
        return BadRow(record.number, "no continuation")
    given = f"{record.number:09d}" if kind is DatasetKind.LINES else value_at(record.columns, columns["id"])
    identity = _identity(given, texts)
    if identity is None:
        return BadRow(record.number, f"{columns['id']}: not a usable id")
    marks = _marks(record, columns)
    if marks is None:
        return BadRow(record.number, f"{columns['label']}: neither true nor false")
    row = Row(identity, extra={**_passed(record, columns), **marks}, **texts)
    return row if _is_storable(row) else BadRow(record.number, "not UTF-8")


def _marks(record: Record, columns: Mapping[str, str]) -> dict[str, Json] | None:
    """Returns the group and label of a record, as far as it has them; None where a label is asked for and is none."""
    marks: dict[str, Json] = {}
    group = value_at(record.columns, columns["group"])
    if isinstance(group, str | int) and str(group).strip():
        marks["group"] = str(group).strip()
    if "label" in columns:
        label = _truth(value_at(record.columns, columns["label"]))
        if label is None:
            return None
        marks["label"] = label
    return marks


def _passed(record: Record, columns: Mapping[str, str]) -> dict[str, Json]:
    """Returns the columns that are no field."""
    return {
        name: _as_json(value)
        for name, value in record.columns.items()
        if name not in columns.values() and name not in ("id", *FIELDS)
    }


def _sided(record: Record, fields: FieldMap) -> Record:
    """Returns the record with its labelled completion as `chosen` or `rejected`; as it is if it has one of them."""
    columns = dict(record.columns)
    sides = {True: fields.chosen or "chosen", False: fields.rejected or "rejected"}
    completion, label = fields.completion or "completion", fields.label or "label"
    if any(_is_given(columns.get(side)) for side in sides.values()) or not _is_given(columns.get(completion)):
        return record
    wanted = _truth(columns.pop(label, None))
    if wanted is None:
        return Record(record.number, fault=f"{label}: neither true nor false")
    columns[sides[wanted]] = columns.pop(completion)
    return Record(record.number, columns)


def _is_given(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _truth(value: object) -> bool | None:
    """Returns what a label says: CSV has words, some sources have numbers."""
    match value:
        case bool() | 0 | 1:
            return bool(value)
        case str():
            return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
        case _:
            return None


def _text_fault(value: object, kind: DatasetKind, field: str) -> str:
    optional = field in OPTIONAL_FIELDS.get(kind, ())
    if value is None:
        return "" if optional else "missing"
    if not isinstance(value, str):
        return "not text"
    if not _is_unicode(value):
        return "not UTF-8"
    return "" if value.strip() or optional or kind is DatasetKind.LINES else "empty"


def _identity(given: object, texts: Mapping[str, str]) -> str | None:
    """Returns the given id, one made of the content where there is none, or None if it cannot be used."""
    if given is None or given == "":
        content = rfc8785.dumps({name: text for name, text in texts.items() if text})
        return hashlib.sha256(content).hexdigest()[:32]
    if isinstance(given, bool) or not isinstance(given, int | str):
        return None
    identity = str(given)
    usable = len(identity) <= MAX_ID_CHARACTERS and identity.isprintable() and identity.strip() == identity
    return identity if usable else None


def _distinct(candidates: list[tuple[int, Row]], *, by_text: bool) -> tuple[list[Row], list[BadRow], int]:
    """Returns rows with distinct ids (and texts), the records whose id another row has, and the count of duplicates."""
    ordered = sorted(candidates, key=lambda pair: (row_line(pair[1]), pair[0]))
    by_id: dict[str, Row] = {}
    texts: set[str] = set()
    clashes: list[BadRow] = []
    duplicates = 0
    for number, row in ordered:
        key = normalized(row.text) if by_text else ""
        if by_text and key in texts:
            duplicates += 1
        elif row.id not in by_id:
            by_id[row.id] = row
            texts.add(key)
        elif _content(by_id[row.id]) == _content(row):
            duplicates += 1
        else:
            clashes.append(BadRow(number, "id of another row"))
    return list(by_id.values()), clashes, duplicates


def _content(row: Row) -> tuple[str, ...]:
    return (row.prompt, row.chosen, row.rejected, row.text)


def _refuse_bad(bad: list[BadRow], total: int, allowed_share: float) -> None:
    if len(bad) <= allowed_share * total:
        return
    named = "; ".join(f"row {row.number}: {row.fault}" for row in bad[:NAMED_ROWS])
    more = "; …" if len(bad) > NAMED_ROWS else ""
    raise DatasetInvalid(
        f"{len(bad)} of {total} rows are unusable (allowed share {allowed_share:g}): {named}{more}",
        bad_rows=len(bad),
        total_rows=total,
        first_rows=",".join(str(row.number) for row in bad[:NAMED_ROWS]),
    )


def _sliced(rows: list[Row], part: HashSlice | None, max_rows: int | None) -> list[Row]:
    inside = [row for row in rows if part is None or part.start <= hash_fraction(row) < part.end]
    return sorted(inside, key=lambda row: (_key_hash(row), row.id))[:max_rows]


def _as_json(value: object) -> Json:
    """Returns a passed-through value as JSON: dates and decimals as text, NaN and bytes as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime.date() | datetime.time() | decimal.Decimal():
            return value.isoformat() if not isinstance(value, decimal.Decimal) else str(value)
        case Mapping():
            return {str(name): _as_json(item) for name, item in cast("Mapping[object, object]", value).items()}
        case list() | tuple():
            return [_as_json(item) for item in cast("list[object]", value)]
        case _:
            return None


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _is_storable(row: Row) -> bool:
    try:
        row_line(row)
    except UnicodeEncodeError:
        return False
    return True
