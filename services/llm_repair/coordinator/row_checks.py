"""Reads local data sets before a repair is accepted, so that bad rows refuse the request instead of failing the work.

Only plain files on this machine are read, and only while they are small; what comes from a hub, a bucket or a
package, and Parquet, is checked by the import steps, which run before anything costly.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.rows import rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.coordinator.inputs import POOL_FIELD, dataset_inputs
from llm_repair.coordinator.measured_metrics import measured_metrics
from llm_repair.core.budgets import count_tokens
from llm_repair.core.errors import DatasetInvalid, FieldViolation
from llm_repair.core.policy import CriterionSlice
from llm_repair.core.references import DatasetFormat, DatasetKind, DatasetRef, Scheme, parse_reference
from llm_repair.core.registry import METHODS, name_of
from llm_repair.core.repair import PAIRED_METHODS, DpoMethod, ExmateMethod
from llm_repair.core.repairs import RepairGoal, RepairSpec
from llm_repair.core.scoring import DYNAMICS_SCORES, MODEL_SCORES
from llm_repair.core.selection import SamplesBudget, Score, TokensBudget

_MAX_BYTES: Final = 64 << 20
_NAMED_ROWS: Final = 5
_OF_REJECTED: Final = (Score.TOXICITY, Score.INSTANCE_HARDNESS)
_PAIRED_GRADIENTS: Final = (DpoMethod, ExmateMethod)
"""Methods whose loss at the base model compares two continuations; those of IREPAIR have the gradient of DAPT there."""
_OF_CHOSEN: Final = (*MODEL_SCORES, *DYNAMICS_SCORES, Score.INSTANCE_HARDNESS)


def local_rows(spec: RepairSpec, resolved: Container[str]) -> dict[str, tuple[Row, ...] | DatasetInvalid]:
    """Returns the rows of local files by field, or what is wrong with them; blocking.

    Args:
      spec: The request.
      resolved: References that may be read, since they were found to be allowed; others are passed over.
    """
    read: dict[str, tuple[Row, ...] | DatasetInvalid] = {}
    for brought in dataset_inputs(spec):
        if brought.source.reference in resolved:
            try:
                rows = _rows(brought.source, brought.rows)
            except DatasetInvalid as error:
                rows = error
            if rows is not None:
                read[brought.field] = rows
    return read


def row_violations(spec: RepairSpec, read: Mapping[str, tuple[Row, ...] | DatasetInvalid]) -> Iterator[FieldViolation]:
    """Yields what is wrong with the rows that `local_rows` read, by field."""
    for field, rows in read.items():
        if isinstance(rows, DatasetInvalid):
            yield FieldViolation(f"spec.{field}", f"{rows.reason}: {rows.message}")
            continue
        yield from _group_violations(spec, field, rows)
        if field == POOL_FIELD:
            yield from _budget_violations(spec, rows)
            yield from _lacking("rejected", _rejected_needed_by(spec), [row.id for row in rows if not row.rejected])
            yield from _lacking("chosen", _chosen_needed_by(spec), [row.id for row in rows if not row.chosen])


def _group_violations(spec: RepairSpec, field: str, rows: Sequence[Row]) -> Iterator[FieldViolation]:
    """Yields criteria that are to hold for every group, where no row has one."""
    if any(row.group for row in rows):
        return
    measured = [metric for metric in measured_metrics(spec.evaluation) if metric.units_of == field]
    for index, criterion in enumerate(spec.gate.criteria):
        is_of_these = any(metric.names(criterion.metric) for metric in measured)
        if is_of_these and criterion.slice is CriterionSlice.EACH_GROUP:
            yield FieldViolation(f"spec.gate.criteria[{index}].slice", f"no row of {field} has a group")


def _budget_violations(spec: RepairSpec, rows: Sequence[Row]) -> Iterator[FieldViolation]:
    match spec.budget.limit if spec.budget else None:
        case SamplesBudget(samples=samples) if samples > len(rows):
            yield FieldViolation("spec.budget.samples.samples", f"is {samples}, but the pool has {len(rows)} rows")
        case SamplesBudget(samples=samples) if spec.selects_all and samples < len(rows):
            yield FieldViolation("spec.budget.samples.samples", f"is {samples}, but FULL takes all {len(rows)} rows")
        case TokensBudget(tokens=tokens):
            shortest = min(count_tokens((row.prompt, row.chosen, row.rejected)) for row in rows)
            if tokens < shortest:
                yield FieldViolation(
                    "spec.budget.tokens.tokens", f"is {tokens}, but the shortest sample of the pool has {shortest}"
                )
        case _:
            pass


def _lacking(field: str, needed_by: str, ids: Sequence[str]) -> Iterator[FieldViolation]:
    if ids and needed_by:
        named = ", ".join(ids[:_NAMED_ROWS]) + (", …" if len(ids) > _NAMED_ROWS else "")
        yield FieldViolation(f"spec.{POOL_FIELD}", f"{len(ids)} rows lack `{field}`, which {needed_by} needs: {named}")


def _rejected_needed_by(spec: RepairSpec) -> str:
    """Returns what of the request needs the rejected continuation too; empty if nothing does."""
    if spec.method and spec.goal is RepairGoal.REPAIR and isinstance(spec.method.objective, PAIRED_METHODS):
        return f"the method {name_of(METHODS, spec.method.objective)}"
    if spec.method and Score.GRAND in spec.scores and isinstance(spec.method.objective, _PAIRED_GRADIENTS):
        return f"the gradient of the method {name_of(METHODS, spec.method.objective)}"
    return next((f"the score {score.name}" for score in spec.scores if score in _OF_REJECTED), "")


def _chosen_needed_by(spec: RepairSpec) -> str:
    """Returns what of the request needs the chosen continuation; a method that does is given no unpaired rows.

    The gradient of an unpaired method is that of the side there is.
    """
    unpaired = spec.pool_kind is DatasetKind.UNPAIRED_POOL
    read = (score for score in spec.scores if score in _OF_CHOSEN and not (unpaired and score is Score.GRAND))
    return next((f"the score {score.name}" for score in read), "")


def _rows(source: DatasetRef, kind: DatasetKind) -> tuple[Row, ...] | None:
    """Returns the rows of a small local file; None for anything else."""
    reference = parse_reference(source.reference)
    path = Path(reference.location)
    is_parquet = source.format is DatasetFormat.PARQUET or path.suffix == ".parquet"
    if reference.scheme is not Scheme.FILE or is_parquet or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    return rows_from(read_records(path, source.format, whole_lines=kind is DatasetKind.LINES), source, kind).rows
