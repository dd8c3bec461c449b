"""Names people type for the contract's alternatives and enum values."""

from __future__ import annotations

from typing import Final, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from llm_repair.client._errors import FieldViolation, InvalidRequest

_UNSPECIFIED: Final = "UNSPECIFIED"


def choose(message: Message, oneof: str, name: str, field: str) -> Message:
    """Sets one alternative of a oneof by its name, `-` for `_` and in any case, and returns it.

    An alternative that is chosen already keeps its parameters.
    """
    alternatives = [each.name for each in message.DESCRIPTOR.oneofs_by_name[oneof].fields]
    wanted = _normal(name)
    if wanted not in alternatives:
        raise InvalidRequest(
            [FieldViolation(field, f"{name!r} is not known; choose one of {', '.join(alternatives)}")],
            reason="UNKNOWN_STRATEGY",
            metadata={"name": name, "known": ", ".join(alternatives)},
        )
    chosen: Message = getattr(message, wanted)
    chosen.SetInParent()
    return chosen


def assign(message: Message, name: str, value: object, path: str) -> None:
    """Sets a field by its name; of an enum by the name of the value.

    Raises:
      InvalidRequest: naming `path`, for a value the field cannot hold.
    """
    descriptor = cast(FieldDescriptor, message.DESCRIPTOR.fields_by_name[name])
    if descriptor.enum_type is not None:
        value = enum_number(descriptor.enum_type, str(value), path)
    try:
        if descriptor.is_repeated:
            message.ClearField(name)
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest([FieldViolation(path, "is not a number the contract can hold")]) from error


def enum_number(enum: EnumDescriptor, name: str, field: str) -> int:
    """Returns the number of an enum value by its name without the enum's, `-` for `_` and in any case."""
    prefix = enum.values_by_number[0].name.removesuffix(_UNSPECIFIED)
    known = {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}
    if _normal(name) not in known:
        raise InvalidRequest([FieldViolation(field, f"{name!r} is not known; choose one of {', '.join(known)}")])
    return known[_normal(name)]


def _normal(name: str) -> str:
    return name.strip().lower().replace("-", "_")
