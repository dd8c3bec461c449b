"""Public evaluation data for tests, where it lies beside the repository; it is never part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_repair.artifacts.rows import ImportedRows, rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.core.references import DatasetKind, DatasetRef, FieldMap

_FOLDER = Path(__file__).parents[2] / "shared" / "data"


def public_file(name: str) -> Path:
    """Returns the file; skips the test where there is none."""
    path = _FOLDER / name
    if not path.is_file():
        pytest.skip(f"needs {name}, which does not lie beside this repository")
    return path


def public_rows(name: str, kind: DatasetKind, *, bad_row_share: float = 0.0, **fields: str) -> ImportedRows:
    """Imports the file as a data set of this kind."""
    path = public_file(name)
    source = DatasetRef(f"file:{path}", fields=FieldMap(**fields), max_bad_row_share=bad_row_share)
    return rows_from(read_records(path, whole_lines=kind is DatasetKind.LINES), source, kind)
