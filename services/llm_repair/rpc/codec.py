"""Converts between the contract's messages and the domain's frozen dataclasses, field by field by name.

A dataclass mirrors a message: same field names, enums by member name, `oneof x` as one field `x` whose type is
a union of dataclasses named like the alternatives' messages. A field that is not set takes the dataclass's
default, so defaults are written once, in the domain. `tests/contract` proves that every pair mirrors.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from llm_repair.core.errors import FieldViolation, InvalidFields

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def decode(message: Message, into: type[T]) -> T:
    """Builds a dataclass from a message.

    Raises:
      InvalidFields: with every violation of the whole message, nested ones by their path.
    """
    violations: list[FieldViolation] = []
    values: dict[str, Any] = {}
    unreadable: set[str] = set()
    for field in _fields(into):
        try:
            present, value = _decode_field(message, field)
        except InvalidFields as error:
            # The name of a oneof is no part of a path on the wire; its alternative has been put there already.
            in_oneof = field.name in message.DESCRIPTOR.oneofs_by_name
            violations += [v if in_oneof else v.under(field.name) for v in error.violations]
            unreadable.add(field.name)
            continue
        if present:
            values[field.name] = value
        elif field.required:
            violations.append(FieldViolation(field.name, _missing(message, field)))
    if violations:
        # What can be checked with the fields that are there is checked too, so that one answer names everything.
        rest = _violations_of_the_rest(into, values)
        raise InvalidFields([*violations, *(v for v in rest if v.field.partition(".")[0] not in unreadable)])
    return into(**values)


def encode(value: Any, into: type[M]) -> M:
    """Builds a message from a dataclass, with every default written out."""
    message = into()
    fill(message, value)
    return message


def fill(message: Message, value: Any) -> None:
    """Writes a dataclass into an empty message."""
    message.SetInParent()
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item is None:
            continue
        if field.name in message.DESCRIPTOR.oneofs_by_name:
            alternative = _alternative_for(message, field.name, type(item).__name__)
            fill(getattr(message, alternative.name), item)
            continue
        _fill_field(message, message.DESCRIPTOR.fields_by_name[field.name], item)


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    type: Any
    """The declared type without `None`."""
    is_optional: bool
    """Whether `None` is a value."""
    required: bool
    """Whether there is no default."""
    item: Any
    """Type of the items of a tuple; None for other types."""
    alternatives: dict[str, Any]
    """By class name, for a union of dataclasses; empty otherwise."""


@functools.cache
def _fields(into: type[Any]) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(into)
    return tuple(_describe(field, hints[field.name]) for field in dataclasses.fields(into))


def _describe(field: dataclasses.Field[Any], hint: Any) -> _Field:
    members = list(typing.get_args(hint)) if _is_union(hint) else [hint]
    is_optional = types.NoneType in members
    members = [member for member in members if member is not types.NoneType]
    return _Field(
        name=field.name,
        type=members[0],
        is_optional=is_optional,
        required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        item=typing.get_args(members[0])[0] if typing.get_origin(members[0]) is tuple else None,
        alternatives={member.__name__: member for member in members} if len(members) > 1 else {},
    )


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def _decode_field(message: Message, field: _Field) -> tuple[bool, Any]:
    """Returns whether the field is set, and its value."""
    oneof = message.DESCRIPTOR.oneofs_by_name.get(field.name)
    if oneof is not None and len(oneof.fields) > 1:
        chosen = message.WhichOneof(field.name)
        if chosen is None:
            return False, None
        alternative = getattr(message, chosen)
        kind = field.alternatives.get(alternative.DESCRIPTOR.name, field.type)
        return True, _prefixed(chosen, decode, alternative, kind)
    descriptor = message.DESCRIPTOR.fields_by_name[field.name]
    raw = getattr(message, field.name)
    if field.item is not None:
        items = tuple(_decode_items(raw, field.item))
        return bool(items) or field.required, items
    if descriptor.message_type is not None:
        return (True, decode(raw, field.type)) if message.HasField(field.name) else (False, None)
    if descriptor.has_presence and not message.HasField(field.name):
        return False, None
    if descriptor.enum_type is not None:
        return (False, None) if raw == 0 else (True, _decode_enum(descriptor.enum_type, raw, field.type))
    unset = not descriptor.has_presence and not raw and not field.required
    return not unset, raw


def _decode_items(raw: Any, item: Any) -> Iterator[Any]:
    violations: list[FieldViolation] = []
    for index, entry in enumerate(raw):
        if not isinstance(entry, Message):
            yield entry
            continue
        try:
            yield decode(entry, item)
        except InvalidFields as error:
            violations += [violation.under(f"[{index}]") for violation in error.violations]
    if violations:
        raise InvalidFields(violations)


def _prefixed(prefix: str, call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except InvalidFields as error:
        raise InvalidFields(violation.under(prefix) for violation in error.violations) from error


def _decode_enum(descriptor: Any, number: int, into: type[enum.Enum]) -> enum.Enum:
    value = descriptor.values_by_number.get(number)
    if value is None:
        raise InvalidFields([FieldViolation("", f"has no value {number}")])
    return into[value.name.removeprefix(_enum_prefix(descriptor))]


def _enum_prefix(descriptor: Any) -> str:
    return descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _missing(message: Message, field: _Field) -> str:
    oneof = message.DESCRIPTOR.oneofs_by_name.get(field.name)
    if oneof is None:
        return "is required"
    return "choose one of " + ", ".join(alternative.name for alternative in oneof.fields)


def _violations_of_the_rest(into: type[Any], values: dict[str, Any]) -> list[FieldViolation]:
    if any(field.required and field.name not in values for field in _fields(into)):
        return []
    try:
        into(**values)
    except InvalidFields as error:
        return list(error.violations)
    return []


def _alternative_for(message: Message, oneof: str, class_name: str) -> Any:
    for alternative in message.DESCRIPTOR.oneofs_by_name[oneof].fields:
        if alternative.message_type is not None and alternative.message_type.name == class_name:
            return alternative
    raise TypeError(f"{message.DESCRIPTOR.name}.{oneof} has no alternative for {class_name}")


def _fill_field(message: Message, descriptor: Any, item: Any) -> None:
    name = descriptor.name
    if descriptor.is_repeated:
        target = getattr(message, name)
        if isinstance(item, Mapping):  # of plain values
            target.update(item)
            return
        for entry in item:
            if descriptor.message_type is not None:
                fill(target.add(), entry)
            else:
                target.append(entry)
    elif descriptor.message_type is not None:
        fill(getattr(message, name), item)
    elif isinstance(item, enum.Enum):
        assert descriptor.enum_type is not None
        prefix = _enum_prefix(descriptor.enum_type)
        setattr(message, name, descriptor.enum_type.values_by_name[prefix + item.name].number)
    else:
        setattr(message, name, item)
