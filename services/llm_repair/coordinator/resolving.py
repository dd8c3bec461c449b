"""Resolves a request before it is accepted: every reference to a digest or commit, every judge to its pin.

From then on only digests travel, so a changed file or a moved branch is a new step and never a silent mix.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Generator, Iterator, Mapping
from typing import Final

from llm_repair.artifacts.catalogue import PROFANITY_CHECK_FILES
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.coordinator.row_checks import row_violations
from llm_repair.core.errors import Code, FieldViolation, InvalidFields, NotCarriedOut, RepairError
from llm_repair.core.evaluation import DetoxifyJudge, HatesonarJudge, Judge, ProfanityJudge
from llm_repair.core.presets import resolved, resolved_method
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.registry import JUDGES, METHODS, PROTOCOLS, STRATEGIES, check_carried_out, name_of
from llm_repair.core.repairs import PoolRows, RepairSpec
from llm_repair.core.selection import AutoSearch

_HATESONAR: Final = "pypi:hatesonar==0.1.0/hatesonar/model/model.onnx"


@dataclasses.dataclass(frozen=True)
class ResolvedSpec:
    """A request that can be carried out."""

    spec: RepairSpec
    """With the judges' pins filled in."""
    digests: dict[str, str]
    """Content digest or commit by reference."""


def resolve(spec: RepairSpec, resolver: ReferenceResolver) -> ResolvedSpec:
    """Resolves a request; blocking, since files are hashed and hubs are asked.

    Raises:
      NotCarriedOut: the request asks for something this version does not do.
      InvalidFields: with every reference, row, budget and criterion that cannot be used.
    """
    if isinstance(spec.selection, AutoSearch):
        raise NotCarriedOut("searching over strategies and fractions is not carried out yet", what="auto")
    assert spec.selection is not None
    with _under("spec.strategy"):
        choice = resolved(spec.selection)
    for part in (*choice.filters, choice.ranking):
        check_carried_out(STRATEGIES, part)
    if spec.method:
        check_carried_out(METHODS, spec.method.objective)
        with _under("spec.method"):
            resolved_method(spec.method)  # written out where it is used: a score may go by what was not given
    check_carried_out(PROTOCOLS, spec.evaluation.protocol.kind)
    spec = dataclasses.replace(
        spec,
        selection=choice,
        evaluation=dataclasses.replace(
            spec.evaluation, judges=tuple(_pinned(judge, index) for index, judge in enumerate(spec.evaluation.judges))
        ),
    )
    digests: dict[str, str] = {}
    violations = list(_gate_violations(spec))
    for field, source in _sources(spec):
        reference = source.reference
        if reference in digests:
            continue
        try:
            digests[reference] = resolver.resolve(reference, is_dataset=isinstance(source, DatasetRef)).digest
        except RepairError as error:
            if error.code in (Code.UNAVAILABLE, Code.INTERNAL):
                raise  # says nothing about the request
            violations.append(FieldViolation(f"spec.{field}.reference", f"{error.reason}: {error.message}"))
    if not any(violation.field.endswith(".reference") for violation in violations):
        violations += row_violations(spec)
    if violations:
        raise InvalidFields(violations)
    return ResolvedSpec(spec, digests)


@contextlib.contextmanager
def _under(field: str) -> Generator[None]:
    """Names violations by their path in the request."""
    try:
        yield
    except InvalidFields as error:
        raise InvalidFields(violation.under(field) for violation in error.violations) from error


def _gate_violations(spec: RepairSpec) -> Iterator[FieldViolation]:
    """Yields criteria that the finished report would refuse, so that nobody learns of them after the work."""
    shown = {name_of(JUDGES, judge.kind) for judge in spec.evaluation.judges[1:]}
    for index, criterion in enumerate(spec.gate.criteria):
        family, _, rest = criterion.metric.partition(".")
        if family == "toxicity" and rest.partition(".")[0] in shown:
            gating = name_of(JUDGES, spec.evaluation.judges[0].kind)
            yield FieldViolation(
                f"spec.gate.criteria[{index}].metric", f"is of a judge that is only shown; the gating judge is {gating}"
            )


def _pinned(judge: Judge, index: int) -> Judge:
    match judge.kind:
        case ProfanityJudge():
            return dataclasses.replace(judge, digest=_pinned_files_digest(PROFANITY_CHECK_FILES))
        case HatesonarJudge(model=None):
            return dataclasses.replace(judge, kind=HatesonarJudge(ModelRef(_HATESONAR)), digest="")
        case DetoxifyJudge(model=None):
            field = f"spec.evaluation.judges[{index}].detoxify.model"
            raise InvalidFields([FieldViolation(field, "is required: no hub is assumed")])
        case _:
            return dataclasses.replace(judge, digest="")


def _pinned_files_digest(pins: Mapping[str, str]) -> str:
    """Returns one digest for pinned files: sha256 over their sorted lines `<sha256>  <name>`, as sha256sum prints."""
    lines = "".join(f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest in sorted(pins.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _sources(spec: RepairSpec) -> Iterator[tuple[str, ModelRef | DatasetRef]]:
    for name, model in (("model", spec.model), ("proxy", spec.proxy), ("encoder", spec.encoder)):
        if model:
            yield name, model
    if isinstance(spec.pool, PoolRows):
        yield "pool_rows.rows", spec.pool.rows
    elif spec.pool:
        yield "self_generated_pool.prompts", spec.pool.prompts
    if spec.evaluation.prompts:
        yield "evaluation.prompts", spec.evaluation.prompts
    for index, corpus in enumerate(spec.evaluation.corpora):
        yield f"evaluation.corpora[{index}].texts", corpus.texts
    for index, judge in enumerate(spec.evaluation.judges):
        if not isinstance(judge.kind, ProfanityJudge) and judge.kind.model:
            yield f"evaluation.judges[{index}].model", judge.kind.model
