"""Results of steps as plain JSON, for the store, for rows and for the pipe between a worker and its parent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from llm_repair.core.execution import Artifact, StepOutput, StepResult, Usage

T = TypeVar("T", Artifact, Usage)


def output_to_json(output: StepOutput) -> dict[str, Any]:
    """Returns what step code made as plain JSON."""
    return {"outputs": _artifacts_to_json(output.outputs), "summary": dict(output.summary)}


def output_from_json(value: Mapping[str, Any]) -> StepOutput:
    """Inverse of `output_to_json`."""
    return StepOutput(_artifacts_from_json(value["outputs"]), value["summary"])


def result_to_json(result: StepResult) -> dict[str, Any]:
    """Returns a committed result as plain JSON."""
    return {
        "key": result.key,
        "kind": result.kind,
        "outputs": _artifacts_to_json(result.outputs),
        "summary": dict(result.summary),
        "usage": dataclasses.asdict(result.usage),
        "provenance": dict(result.provenance),
    }


def result_from_json(value: Mapping[str, Any]) -> StepResult:
    """Inverse of `result_to_json`."""
    return StepResult(
        key=value["key"],
        kind=value["kind"],
        outputs=_artifacts_from_json(value["outputs"]),
        summary=value["summary"],
        usage=_known(Usage, value["usage"]),
        provenance=value["provenance"],
    )


def _artifacts_to_json(artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    return {role: dataclasses.asdict(artifact) for role, artifact in artifacts.items()}


def _artifacts_from_json(value: Mapping[str, Any]) -> dict[str, Artifact]:
    return {role: _known(Artifact, artifact) for role, artifact in sorted(value.items())}


def _known(kind: type[T], fields: Mapping[str, Any]) -> T:
    """Builds a value from the members it knows; those added by later versions are ignored."""
    names = {field.name for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{name: value for name, value in fields.items() if name in names})
