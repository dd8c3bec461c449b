"""Checks that a file is a safetensors file by reading its header, whatever its name says.

The format (huggingface/safetensors): 8 bytes little-endian length, that many bytes of JSON, then the tensors, which
lie back to back and fill the file. Nothing else is accepted, so that no two readers can see different tensors.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

from llm_repair.artifacts.strict_json import loads_strict
from llm_repair.core.errors import UnsafeModel

MAX_HEADER_BYTES = 32 * 2**20
MAX_TENSORS = 100_000

_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 8),
}


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor by name, without reading the tensors.

    Raises:
      UnsafeModel: the file is not safetensors, or its header is oversize or contradicts itself.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise _refusal(path, "is not a safetensors file, or its header is oversize")
        header = file.read(length)
    try:
        described = loads_strict(header)
        if not isinstance(described, dict) or len(cast("dict[str, Any]", described)) > MAX_TENSORS:
            raise ValueError("no object, or too many tensors")
        described = cast("dict[str, Any]", described)
        described.pop("__metadata__", None)
        spans = sorted((_span(tensor), name) for name, tensor in described.items())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _refusal(path, "has a header that is not that of a safetensors file") from error
    end = 0
    for (start, stop), _ in spans:
        if start != end:
            raise _refusal(path, "has overlapping tensors or bytes that belong to none")
        end = stop
    if end != size - 8 - length:
        raise _refusal(path, "is longer or shorter than its header says")
    return {name: tuple(tensor["shape"]) for name, tensor in described.items()}


def _span(tensor: dict[str, Any]) -> tuple[int, int]:
    start, stop = tensor["data_offsets"]
    shape = tensor["shape"]
    if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
        raise ValueError("a size is not a count")
    if (stop - start) * 8 != math.prod(shape) * _BITS[tensor["dtype"]]:
        raise ValueError("a tensor does not have the size of its shape")
    return start, stop


def _refusal(path: Path, what: str) -> UnsafeModel:
    return UnsafeModel(f"{json.dumps(path.name)} {what}", file=path.name)
