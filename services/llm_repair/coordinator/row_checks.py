"""Reads local data sets before a repair is accepted, so that bad rows refuse the request instead of failing the work.

Only plain files on this machine are read, and only while they are small; what comes from a hub, a bucket or a
package, and Parquet, is checked by the import steps, which run before anything costly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.rows import rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.core.errors import DatasetInvalid, FieldViolation
from llm_repair.core.references import DatasetFormat, DatasetKind, DatasetRef, Scheme, parse_reference
from llm_repair.core.repair import PAIRED_METHODS
from llm_repair.core.repairs import PoolRows, RepairSpec
from llm_repair.core.selection import SamplesBudget, Score

_MAX_BYTES: Final = 64 << 20
_NAMED_ROWS: Final = 5


def row_violations(spec: RepairSpec) -> Iterator[FieldViolation]:
    """Yields what is wrong with the rows of local files, by field; blocking. References must have been resolved."""
    if isinstance(spec.pool, PoolRows):
        yield from _pool_violations(spec, spec.pool.rows)
    elif spec.pool:
        yield from _violations("spec.self_generated_pool.prompts", spec.pool.prompts, DatasetKind.PROMPTS)
    if spec.evaluation.prompts:
        yield from _violations("spec.evaluation.prompts", spec.evaluation.prompts, DatasetKind.PROMPTS)
    for index, corpus in enumerate(spec.evaluation.corpora):
        yield from _violations(f"spec.evaluation.corpora[{index}].texts", corpus.texts, DatasetKind.TEXTS)


def _violations(field: str, source: DatasetRef, kind: DatasetKind) -> Iterator[FieldViolation]:
    try:
        _rows(source, kind)
    except DatasetInvalid as error:
        yield FieldViolation(field, f"{error.reason}: {error.message}")


def _pool_violations(spec: RepairSpec, source: DatasetRef) -> Iterator[FieldViolation]:
    try:
        rows = _rows(source, DatasetKind.POOL)
    except DatasetInvalid as error:
        yield FieldViolation("spec.pool_rows.rows", f"{error.reason}: {error.message}")
        return
    if rows is None:
        return
    limit = spec.budget.limit if spec.budget else None
    if isinstance(limit, SamplesBudget) and limit.samples > len(rows):
        yield FieldViolation("spec.budget.samples.samples", f"is {limit.samples}, but the pool has {len(rows)} rows")
    unpaired = [row.id for row in rows if not row.rejected.strip()]
    if unpaired and _compares_both(spec):
        named = ", ".join(unpaired[:_NAMED_ROWS]) + (", …" if len(unpaired) > _NAMED_ROWS else "")
        yield FieldViolation(
            "spec.pool_rows.rows", f"{len(unpaired)} rows lack `rejected`, which this request needs: {named}"
        )


def _compares_both(spec: RepairSpec) -> bool:
    """Whether the method or a score needs the rejected continuation too."""
    by_method = spec.method is not None and isinstance(spec.method.objective, PAIRED_METHODS)
    by_score = any(score in (Score.TOXICITY, Score.INSTANCE_HARDNESS) for score in spec.scores)
    return by_method or by_score


def _rows(source: DatasetRef, kind: DatasetKind) -> tuple[Row, ...] | None:
    """Returns the rows of a small local file; None for anything else."""
    reference = parse_reference(source.reference)
    path = Path(reference.location)
    is_parquet = source.format is DatasetFormat.PARQUET or path.suffix == ".parquet"
    if reference.scheme is not Scheme.FILE or is_parquet or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    return rows_from(read_records(path, source.format), source, kind).rows
