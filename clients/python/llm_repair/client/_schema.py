"""Checks parsed YAML or JSON against a JSON schema of the few keywords that this package's schemas use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from llm_repair.client._errors import FieldViolation

Schema = Mapping[str, Any]
_REFERENCE: Final = "#/$defs/"


def schema_violations(value: object, schema: Schema) -> Iterator[FieldViolation]:
    """Yields everything about a value that a schema does not allow, each with its path.

    Equal to JSON Schema 2020-12 for schemas of the keywords handled here, but that a number must be finite: JSON has
    no others, and YAML does.
    """
    yield from _violations(value, schema, schema, "")


def _violations(value: object, schema: Schema, root: Schema, path: str) -> Iterator[FieldViolation]:
    if "$ref" in schema:
        schema = {**schema, **root["$defs"][schema["$ref"].removeprefix(_REFERENCE)]}
    match schema["type"]:
        case "object":
            yield from _of_object(value, schema, root, path)
        case "array":
            yield from _of_array(value, schema, root, path)
        case "string":
            yield from _of_string(value, schema, path)
        case kind:
            yield from _of_number(value, schema, path, is_whole=kind == "integer")


def _of_object(value: object, schema: Schema, root: Schema, path: str) -> Iterator[FieldViolation]:
    fields: Mapping[str, Schema] = schema["properties"]
    if not isinstance(value, dict):
        yield FieldViolation(path, f"must be a mapping with keys of: {', '.join(fields)}")
        return
    items = cast(dict[object, object], value)
    for key, item in items.items():
        where = f"{path}.{key}" if path else str(key)
        if not isinstance(key, str) or key not in fields:
            yield FieldViolation(where, f"is not known here; there are: {', '.join(fields)}")
        elif item is None:
            yield FieldViolation(where, "is empty; write {} for a mapping with all its defaults")
        else:
            yield from _violations(item, fields[key], root, where)
    for name in schema.get("required", ()):
        if name not in items:
            yield FieldViolation(f"{path}.{name}" if path else name, "is required")
    yield from _of_choice(items, schema, path)


def _of_choice(items: Mapping[object, object], schema: Schema, path: str) -> Iterator[FieldViolation]:
    """Checks `oneOf`, whose alternatives all say which key they require."""
    names = [name for alternative in schema.get("oneOf", ()) for name in alternative["required"]]
    given = [name for name in names if name in items]
    if names and len(given) != 1:
        found = f"has {' and '.join(given)}" if given else "has none"
        yield FieldViolation(path, f"must have exactly one of {', '.join(names)}, and {found}")


def _of_array(value: object, schema: Schema, root: Schema, path: str) -> Iterator[FieldViolation]:
    if not isinstance(value, list):
        yield FieldViolation(path, "must be a list")
        return
    for index, item in enumerate(cast(list[object], value)):
        yield from _violations(item, schema["items"], root, f"{path}[{index}]")


def _of_string(value: object, schema: Schema, path: str) -> Iterator[FieldViolation]:
    known: list[str] = schema.get("enum", [])
    if not isinstance(value, str):
        yield FieldViolation(path, "must be text")
    elif known and value not in known:
        yield FieldViolation(path, f"must be one of {', '.join(known)}, is {value!r}")
    elif len(value) < schema.get("minLength", 0):
        yield FieldViolation(path, "must not be empty")


_BOUNDS: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("above", lambda value, bound: value > bound),
    "exclusiveMaximum": ("below", lambda value, bound: value < bound),
}


def _of_number(value: object, schema: Schema, path: str, *, is_whole: bool) -> Iterator[FieldViolation]:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        yield FieldViolation(path, "must be a number")
        return
    if is_whole and value != int(value):
        yield FieldViolation(path, f"must be a whole number, is {value:g}")
    for keyword, (words, holds) in _BOUNDS.items():
        if keyword in schema and not holds(value, schema[keyword]):
            yield FieldViolation(path, f"must be {words} {schema[keyword]:g}, is {value:g}")
