"""Typed access to parsed JSON: what is absent or of another type reads as absent, never as zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from llm_repair.core.execution import Json

JsonObject: TypeAlias = Mapping[str, Json]
NOTHING: JsonObject = MappingProxyType[str, Json]({})


def object_at(source: Json, *path: str) -> JsonObject:
    """Returns the object at `path`; an empty one where there is none."""
    found = value_at(source, *path)
    return found if isinstance(found, Mapping) else NOTHING


def list_at(source: Json, *path: str) -> Sequence[Json]:
    """Returns the list at `path`; an empty one where there is none."""
    found = value_at(source, *path)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def objects_at(source: Json, *path: str) -> tuple[JsonObject, ...]:
    """Returns the objects of the list at `path`, leaving out whatever else it holds."""
    return tuple(item for item in list_at(source, *path) if isinstance(item, Mapping))


def text_at(source: Json, *path: str) -> str:
    """Returns the string at `path`; an empty one where there is none."""
    found = value_at(source, *path)
    return found if isinstance(found, str) else ""


def number_at(source: Json, *path: str) -> float | None:
    """Returns the finite number at `path`; None where there is none."""
    found = value_at(source, *path)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def value_at(source: Json, *path: str) -> Json:
    """Returns whatever stands at `path`; None where the path ends early."""
    for key in path:
        if not isinstance(source, Mapping):
            return None
        source = source.get(key)
    return source


def without_non_finite(source: Json) -> Json:
    """Returns the same JSON with NaN and infinities as null: they are not JSON, and no measurement."""
    match source:
        case float():
            return source if math.isfinite(source) else None
        case str() | None | bool() | int():
            return source
        case Mapping():
            return {key: without_non_finite(value) for key, value in source.items()}
        case _:
            return [without_non_finite(value) for value in source]
