"""Files that teams keep data in: JSON lines, CSV, Parquet and plain lines, read record by record.

A record that cannot be read is handed on with what is wrong with it; texts are never quoted.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no type stubs.
from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.references import DatasetFormat

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is no row of text, but a file of another kind or one made to exhaust memory."""
MAX_FILE_BYTES = 8 * 2**30
"""Of text after decompression."""


@dataclass(frozen=True)
class Record:
    """One record of a source file."""

    number: int
    """Counted from 1: the line of JSON or plain lines, the data record of CSV, the row of Parquet."""
    columns: Mapping[str, object] = field(default_factory=dict[str, object])
    fault: str = ""
    """Why it could not be read; empty if it could."""


def read_records(path: Path, form: DatasetFormat | None = None, *, whole_lines: bool = False) -> Iterator[Record]:
    """Reads a source file.

    Args:
      path: a file; a last suffix `.gz` means compressed (not for Parquet).
      form: by the suffix if None: `.jsonl`, `.ndjson`, `.csv`, `.parquet`, or `.txt`, `.raw` and `.tokens` for plain
        lines, where each line that is not blank is a record with the columns `prompt` and `text`.
      whole_lines: of plain lines, whether blank ones are records too, and blanks around a text part of it.

    Raises:
      DatasetInvalid: unknown suffix, or a file that is not of this format at all.
    """
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    known = {DatasetFormat.JSONL: ".jsonl", DatasetFormat.CSV: ".csv", DatasetFormat.PARQUET: ".parquet"}
    match known[form] if form is not None else suffix.lower():
        case ".jsonl" | ".ndjson":
            yield from _json_lines(path)
        case ".csv":
            yield from _csv(path)
        case ".parquet":
            yield from _parquet(path)
        case ".txt" | ".raw" | ".tokens":
            yield from _plain_lines(path, whole=whole_lines)
        case other:
            raise DatasetInvalid("the format cannot be told from the file's suffix; name it", suffix=other)


def _json_lines(path: Path) -> Iterator[Record]:
    blanks: list[int] = []
    for number, line in _lines(path):
        if not line.strip():
            blanks.append(number)  # an empty row is a fault, but empty lines at the end of a file are not rows
            continue
        yield from (Record(blank, fault="empty row") for blank in blanks)
        blanks.clear()
        yield _json_record(number, line)


def _json_record(number: int, line: bytes) -> Record:
    try:
        columns = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Record(number, fault="not UTF-8")
    except (ValueError, RecursionError):
        return Record(number, fault="not JSON")
    if not isinstance(columns, dict):
        return Record(number, fault="not a JSON object")
    return Record(number, cast("dict[str, object]", columns))


def _plain_lines(path: Path, *, whole: bool) -> Iterator[Record]:
    for number, line in _lines(path):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            yield Record(number, fault="not UTF-8")
            continue
        text = text.rstrip("\r\n") if whole else text.strip()
        if text or whole:
            yield Record(number, {"prompt": text, "text": text})


def _csv(path: Path) -> Iterator[Record]:
    # Undecodable bytes become lone surrogates, so that one bad record does not spoil the others.
    lines = (line.decode("utf-8", "surrogateescape") for _, line in _lines(path))
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.removeprefix("\ufeff") for name in next(reader, list[str]())]
        if len(set(header)) < len(header):
            raise DatasetInvalid("two columns have the same name")
        for number, values in enumerate(reader, start=1):
            if not values:
                yield Record(number, fault="empty row")
            elif len(values) != len(header):
                yield Record(number, fault="wrong number of columns")
            else:
                yield Record(number, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise DatasetInvalid("the file cannot be read as CSV", line=reader.line_num) from error


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as arrow  # large, and part of worker installations only
    import pyarrow.parquet as parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for columns in _arrow_rows(batch):
                    number += 1
                    yield Record(number, fault="not UTF-8") if columns is None else Record(number, columns)
    except (arrow.ArrowException, OSError) as error:
        raise DatasetInvalid("the file cannot be read as Parquet", rows_read=number) from error


def _arrow_rows(batch: Any) -> Iterator[dict[str, object] | None]:
    """Returns the rows of a batch, None for one whose text does not decode."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Reads lines by number without their ends, bounded in length and together."""
    total = number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                total += len(line)
                if len(line) > MAX_LINE_BYTES or total > MAX_FILE_BYTES:
                    raise DatasetInvalid("a line or the file is too long", line=number)
                yield number, line
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DatasetInvalid("the file cannot be decompressed", line=number) from error


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return io.BufferedReader(io.FileIO(path, "rb"))
