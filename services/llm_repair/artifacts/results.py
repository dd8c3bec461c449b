"""Step results as JSON and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from llm_repair.core.errors import ArtifactCorrupt
from llm_repair.core.execution import Artifact, StepResult, Usage


def encode_result(result: StepResult) -> bytes:
    """Returns the result as canonical JSON: sorted keys, compact, UTF-8.

    Raises:
      ValueError: a number in summary or provenance is NaN or infinite.
    """
    document = {
        "key": result.key,
        "kind": result.kind,
        "outputs": {role: dataclasses.asdict(artifact) for role, artifact in result.outputs.items()},
        "summary": result.summary,
        "usage": dataclasses.asdict(result.usage),
        "provenance": result.provenance,
    }
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    )
    return text.encode("utf-8")


def decode_result(data: bytes) -> StepResult:
    """Returns the result a manifest describes; members added by later versions are ignored.

    Raises:
      ArtifactCorrupt: the bytes are not such a manifest.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        return StepResult(
            key=document["key"],
            kind=document["kind"],
            outputs={role: _known(Artifact, fields) for role, fields in sorted(document["outputs"].items())},
            summary=document["summary"],
            usage=_known(Usage, document["usage"]),
            provenance=document["provenance"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt("a step's result cannot be read") from error


def _known(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in fields.items() if name in names})


def _plain(value: object) -> object:
    """Writes read-only mappings, such as `MappingProxyType`, as objects."""
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise TypeError(f"{type(value).__name__} is not JSON")
