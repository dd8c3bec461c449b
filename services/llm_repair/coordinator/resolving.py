"""Resolves a request before it is accepted: every reference to a digest or commit, every judge to its pin.

From then on only digests travel, so a changed file or a moved branch is a new step and never a silent mix.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Generator, Mapping
from typing import Final

from llm_repair.artifacts.catalogue import PROFANITY_CHECK_FILES
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.coordinator.inputs import DatasetInput, dataset_inputs, model_inputs
from llm_repair.coordinator.measured_metrics import gate_violations
from llm_repair.coordinator.row_checks import local_rows, row_violations
from llm_repair.core.errors import Code, DatasetInvalid, FieldViolation, InvalidFields, NotCarriedOut, RepairError
from llm_repair.core.evaluation import DetoxifyJudge, HatesonarJudge, Judge, ProfanityJudge
from llm_repair.core.presets import resolved, resolved_method
from llm_repair.core.references import ModelRef
from llm_repair.core.registry import METHODS, PROTOCOLS, STRATEGIES, check_carried_out
from llm_repair.core.repair import Precision, RepairMethod, RepairPreset
from llm_repair.core.repairs import RepairGoal, RepairSpec
from llm_repair.core.selection import AutoSearch, SelectionStrategy

_HATESONAR: Final = "pypi:hatesonar==0.1.0/hatesonar/model/model.onnx"


@dataclasses.dataclass(frozen=True)
class ResolvedSpec:
    """A request that can be carried out."""

    spec: RepairSpec
    """With the judges' pins and the precision of the training filled in."""
    digests: dict[str, str]
    """Content digest or commit by reference."""
    row_counts: dict[str, int]
    """Rows of local data sets, by field."""


def resolve(spec: RepairSpec, resolver: ReferenceResolver, *, precision: Precision = Precision.FLOAT32) -> ResolvedSpec:
    """Resolves a request; blocking, since files are hashed and hubs are asked.

    precision: of a training whose request names none.

    What does not take part, such as the evaluation of a request that ends with its selection, is not looked at.

    Raises:
      NotCarriedOut: the request asks for something this version does not do.
      InvalidFields: with every preset, judge, reference, row, budget and criterion that cannot be used.
    """
    _check_carried_out(spec)
    violations: list[FieldViolation] = []
    spec = _written_out(spec, precision, violations)
    digests = _digests(spec, resolver, violations)
    violations += gate_violations(spec)
    read = local_rows(spec, digests)
    violations += row_violations(spec, read)
    if violations:
        raise InvalidFields(violations)
    counts = {field: len(rows) for field, rows in read.items() if not isinstance(rows, DatasetInvalid)}
    return ResolvedSpec(spec, digests, counts)


def _check_carried_out(spec: RepairSpec) -> None:
    if isinstance(spec.selection, AutoSearch):
        raise NotCarriedOut("searching over strategies and fractions is not carried out yet", what="auto")
    if spec.selection:
        for part in (*spec.selection.filters, spec.selection.ranking):
            check_carried_out(STRATEGIES, part)
    if spec.method and spec.goal is RepairGoal.REPAIR:
        check_carried_out(METHODS, spec.method.objective)
    check_carried_out(PROTOCOLS, spec.evaluation.protocol.kind)


def _written_out(spec: RepairSpec, precision: Precision, violations: list[FieldViolation]) -> RepairSpec:
    """Returns the request with preset, precision and the judges' pins written out; adds what is wrong with them."""
    selection, method, judges = spec.selection, spec.method, list(spec.evaluation.judges)
    if isinstance(selection, SelectionStrategy):
        with _collected(violations, "spec.strategy"):
            selection = resolved(selection)
    if spec.method:
        with _collected(violations, "spec.method"):
            resolved_method(spec.method)  # written out where it is used: a score may go by what was not given
            method = _at_precision(spec.method, precision)
    for index, judge in enumerate(spec.judges):
        with _collected(violations, f"spec.evaluation.judges[{index}]"):
            judges[index] = _pinned(judge)
    evaluation = dataclasses.replace(spec.evaluation, judges=tuple(judges))
    return dataclasses.replace(spec, selection=selection, method=method, evaluation=evaluation)


def _at_precision(method: RepairMethod, precision: Precision) -> RepairMethod:
    """Returns the method with a precision where neither it nor its preset has one."""
    if method.precision or method.preset is RepairPreset.PAPER:
        return method
    return dataclasses.replace(method, precision=precision)


@contextlib.contextmanager
def _collected(into: list[FieldViolation], field: str) -> Generator[None]:
    """Adds violations found inside, by their path in the request, and goes on."""
    try:
        yield
    except InvalidFields as error:
        into += [violation.under(field) for violation in error.violations]


def _digests(spec: RepairSpec, resolver: ReferenceResolver, violations: list[FieldViolation]) -> dict[str, str]:
    """Returns the digest of every reference that can be resolved; adds what is wrong with the others."""
    digests: dict[str, str] = {}
    for brought in (*model_inputs(spec), *dataset_inputs(spec)):
        reference = brought.source.reference
        if reference in digests:
            continue
        try:
            digests[reference] = resolver.resolve(reference, is_dataset=isinstance(brought, DatasetInput)).digest
        except RepairError as error:
            if error.code in (Code.UNAVAILABLE, Code.INTERNAL):
                raise  # says nothing about the request
            violations.append(FieldViolation(f"spec.{brought.field}.reference", f"{error.reason}: {error.message}"))
    return digests


def _pinned(judge: Judge) -> Judge:
    match judge.kind:
        case ProfanityJudge():
            return dataclasses.replace(judge, digest=_pinned_files_digest(PROFANITY_CHECK_FILES))
        case HatesonarJudge(model=None):
            return dataclasses.replace(judge, kind=HatesonarJudge(ModelRef(_HATESONAR)), digest="")
        case DetoxifyJudge(model=None):
            raise InvalidFields([FieldViolation("detoxify.model", "is required: no hub is assumed")])
        case _:
            return dataclasses.replace(judge, digest="")


def _pinned_files_digest(pins: Mapping[str, str]) -> str:
    """Returns one digest for pinned files: sha256 over their sorted lines `<sha256>  <name>`, as sha256sum prints."""
    lines = "".join(f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest in sorted(pins.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
