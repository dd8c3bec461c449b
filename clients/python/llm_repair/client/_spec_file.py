"""Reads a request or a gate policy from a YAML or JSON file that mirrors the contract's JSON form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from llm_repair.client._errors import FieldViolation, InvalidRequest
from llm_repair.client._schema import schema_violations
from llm_repair.v1 import coordinator_pb2 as pb

M = TypeVar("M", bound=Message)


def load_spec(path: Path) -> pb.RepairSpec:
    """Reads a `RepairSpec`.

    Raises:
      InvalidRequest: not YAML or JSON, an unknown key, or a value of the wrong type; each with its path.
      OSError: the file cannot be read.
    """
    return _load(path, pb.RepairSpec())


def load_policy(path: Path) -> pb.GatePolicy:
    """Reads a `GatePolicy` that the published schema, `gate-policy.schema.json`, allows; raises as `load_spec`."""
    content = _parse(path)
    violations = list(schema_violations(content, policy_schema()))
    if violations:
        raise InvalidRequest(violations)
    return json_format.ParseDict(content, pb.GatePolicy())


def policy_schema() -> Mapping[str, Any]:
    """Returns the JSON schema (2020-12) of a gate policy file."""
    text = resources.files(__package__ or "").joinpath("gate-policy.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def _load(path: Path, into: M) -> M:
    content = _parse(path)
    violations = list(_violations(content, cast(Descriptor, into.DESCRIPTOR), ""))
    if violations:
        raise InvalidRequest(violations)
    try:
        json_format.ParseDict(content, into)
    except json_format.ParseError as error:
        raise InvalidRequest([FieldViolation(path.name, str(error))]) from error
    return into


def _parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_object)
        return yaml.load(text, _Loader)  # noqa: S506 - it is a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark else ""
        raise InvalidRequest([FieldViolation(path.name, f"is not YAML: {error.problem}{where}")]) from error
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest([FieldViolation(path.name, f"cannot be parsed: {error}")]) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest([FieldViolation(path.name, "is not UTF-8")]) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: of two criteria under one key the first would go unnoticed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # pyright: ignore[reportUnknownMemberType]
        for index, (key, (place, _)) in enumerate(zip(keys, node.value, strict=True)):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", place.start_mark)
        return super().construct_mapping(node, deep=deep)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := [key for index, (key, _) in enumerate(pairs) if key in [other for other, _ in pairs[:index]]]:
        raise json.JSONDecodeError(f"{twice[0]!r} is there twice", "", 0)
    return dict(pairs)


def _violations(value: Any, descriptor: Descriptor, path: str) -> Iterator[FieldViolation]:
    """Yields what `ParseDict` would refuse one at a time or, worse, pass over: unknown keys and empty values."""
    if not isinstance(value, dict):
        yield FieldViolation(path, f"must be a mapping with keys of {descriptor.name}")
        return
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for key, item in cast(dict[Any, Any], value).items():
        where = f"{path}.{key}" if path else str(key)
        field = fields.get(key)
        if field is None:
            known = ", ".join(each.name for each in descriptor.fields) or "none"
            yield FieldViolation(where, f"is not a field of {descriptor.name}; it has: {known}")
        elif item is None:
            yield FieldViolation(where, "is empty; write {} for a message with all its defaults")
        elif field.message_type is not None:
            yield from _below(item, field, where)


def _below(value: Any, field: FieldDescriptor, path: str) -> Iterator[FieldViolation]:
    assert field.message_type is not None
    if not field.is_repeated:
        yield from _violations(value, field.message_type, path)
    elif not isinstance(value, list):
        yield FieldViolation(path, "must be a list")
    else:
        for index, item in enumerate(cast(list[Any], value)):
            yield from _violations(item, field.message_type, f"{path}[{index}]")
