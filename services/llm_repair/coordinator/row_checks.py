"""Reads local data sets before a repair is accepted, so that bad rows refuse the request instead of failing the work.

Only plain files on this machine are read, and only while they are small; what comes from a hub, a bucket or a
package, and Parquet, is checked by the import steps, which run before anything costly.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Final

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.rows import rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.core.budgets import count_tokens
from llm_repair.core.errors import DatasetInvalid, FieldViolation
from llm_repair.core.references import DatasetFormat, DatasetKind, DatasetRef, Scheme, parse_reference
from llm_repair.core.repair import PAIRED_METHODS, DpoMethod
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec
from llm_repair.core.selection import SamplesBudget, Score, TokensBudget

_MAX_BYTES: Final = 64 << 20
_NAMED_ROWS: Final = 5


def row_violations(spec: RepairSpec, resolved: Container[str]) -> Iterator[FieldViolation]:
    """Yields what is wrong with the rows of local files, by field; blocking.

    Args:
      spec: The request.
      resolved: References that may be read, since they were found to be allowed; others are passed over.
    """
    for field, source, kind in _sources(spec):
        if source.reference not in resolved:
            continue
        try:
            rows = _rows(source, kind)
        except DatasetInvalid as error:
            yield FieldViolation(field, f"{error.reason}: {error.message}")
            continue
        if rows is not None and kind is DatasetKind.POOL:
            yield from _budget_violations(spec, rows)
            yield from _pair_violations(spec, rows)


def _sources(spec: RepairSpec) -> Iterator[tuple[str, DatasetRef, DatasetKind]]:
    """Yields the data sets that take part, with their fields."""
    if isinstance(spec.pool, PoolRows):
        yield "spec.pool_rows.rows", spec.pool.rows, DatasetKind.POOL
    elif spec.pool:
        yield "spec.self_generated_pool.prompts", spec.pool.prompts, DatasetKind.PROMPTS
    if spec.goal is not RepairGoal.REPAIR:
        return
    if spec.evaluation.prompts:
        yield "spec.evaluation.prompts", spec.evaluation.prompts, DatasetKind.PROMPTS
    for index, corpus in enumerate(spec.evaluation.corpora):
        yield f"spec.evaluation.corpora[{index}].texts", corpus.texts, DatasetKind.TEXTS


def _budget_violations(spec: RepairSpec, rows: Sequence[Row]) -> Iterator[FieldViolation]:
    match spec.budget.limit if spec.budget else None:
        case SamplesBudget(samples=samples) if samples > len(rows):
            yield FieldViolation("spec.budget.samples.samples", f"is {samples}, but the pool has {len(rows)} rows")
        case TokensBudget(tokens=tokens):
            shortest = min(count_tokens((row.prompt, row.chosen, row.rejected)) for row in rows)
            if tokens < shortest:
                yield FieldViolation(
                    "spec.budget.tokens.tokens", f"is {tokens}, but the shortest sample of the pool has {shortest}"
                )
        case _:
            pass


def _pair_violations(spec: RepairSpec, rows: Sequence[Row]) -> Iterator[FieldViolation]:
    unpaired = [row.id for row in rows if not row.rejected.strip()]
    if unpaired and _compares_both(spec):
        named = ", ".join(unpaired[:_NAMED_ROWS]) + (", …" if len(unpaired) > _NAMED_ROWS else "")
        yield FieldViolation(
            "spec.pool_rows.rows", f"{len(unpaired)} rows lack `rejected`, which this request needs: {named}"
        )


def _compares_both(spec: RepairSpec) -> bool:
    """Whether the method or a score needs the rejected continuation too."""
    objective = spec.method.objective if spec.method else None
    by_method = spec.goal is RepairGoal.REPAIR and isinstance(objective, PAIRED_METHODS)
    by_gradient = Score.GRAND in spec.scores and isinstance(objective, DpoMethod)
    by_text = any(score in (Score.TOXICITY, Score.INSTANCE_HARDNESS) for score in spec.scores)
    return by_method or by_gradient or by_text


def _rows(source: DatasetRef, kind: DatasetKind) -> tuple[Row, ...] | None:
    """Returns the rows of a small local file; None for anything else."""
    reference = parse_reference(source.reference)
    path = Path(reference.location)
    is_parquet = source.format is DatasetFormat.PARQUET or path.suffix == ".parquet"
    if reference.scheme is not Scheme.FILE or is_parquet or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    return rows_from(read_records(path, source.format), source, kind).rows
