"""Data sets in readable form: a reference, and which share of its rows is meant."""

from __future__ import annotations

import re
from typing import Final

from llm_repair.client._errors import FieldViolation, InvalidRequest
from llm_repair.v1 import types_pb2

# A revision in `hf:org/name@revision` cannot hold a colon, so the two uses of `@` never meet.
_SLICE: Final = re.compile(r"(?P<reference>.+)@(?P<slice>[0-9.]*:[0-9.]*)")


def dataset(reference: str) -> types_pb2.DatasetRef:
    """Returns a data set from `REF` or `REF@start:end`, where an empty start is 0 and an empty end is 1."""
    found = _SLICE.fullmatch(reference)
    if found is None:
        return types_pb2.DatasetRef(reference=reference)
    start, end = parse_slice(found["slice"])
    part = types_pb2.HashSlice(start=start, end=end)
    return types_pb2.DatasetRef(reference=found["reference"], slice=part)


def parse_slice(text: str) -> tuple[float, float]:
    """Returns start and end of `start:end`."""
    start, colon, end = text.partition(":")
    try:
        if colon:
            return float(start or 0), float(end or 1)
    except ValueError:
        pass
    raise invalid("slice", f"must look like 0:0.73, is {text!r}")


def as_dataset(value: str | types_pb2.DatasetRef) -> types_pb2.DatasetRef:
    """Returns a data set that may have been given as text."""
    return dataset(value) if isinstance(value, str) else value


def invalid(field: str, description: str) -> InvalidRequest:
    """Returns the error for one field."""
    return InvalidRequest([FieldViolation(field, description)])
