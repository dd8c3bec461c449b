"""JSON read in the one way that leaves no room between two parsers."""

from __future__ import annotations

import json
from typing import Any


def loads_strict(data: bytes) -> Any:
    """Parses UTF-8 JSON.

    Raises:
      ValueError: malformed, not UTF-8, a name used twice in one object, or NaN and infinities.
    """
    return json.loads(data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse_constant)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is used twice in one object")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
