"""Step results as bytes and back; their JSON form is `core.results`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from llm_repair.core.errors import ArtifactCorrupt
from llm_repair.core.execution import StepResult
from llm_repair.core.results import result_from_json, result_to_json


def encode_result(result: StepResult) -> bytes:
    """Returns the result as canonical JSON: sorted keys, compact, UTF-8.

    Raises:
      ValueError: a number in summary or provenance is NaN or infinite.
    """
    document = result_to_json(result)
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
        return result_from_json(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt("a step's result cannot be read") from error


def _plain(value: object) -> object:
    """Writes read-only mappings, such as `MappingProxyType`, as objects."""
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise TypeError(f"{type(value).__name__} is not JSON")
