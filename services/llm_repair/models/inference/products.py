# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's functions are partly untyped.
"""Products with weight matrices, each in the form that this machine is fastest at.

fp32 on a processor: weights lie as (in, out), which needs no repacking; with the 30 to 130 rows of a decoding that is
1.1 to 1.3 times as fast as (out, in), and no slower with many (Xeon with AVX-512, MKL). bf16 weights are multiplied in
bf16 only where the processor is faster at it than at fp32; an Intel one without AMX tiles has the instructions, and
takes twice as long. There they are kept as the fp32 numbers that they are, up to a size.
"""

from __future__ import annotations

import functools
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

_EXPANDED_WEIGHTS: Final = 1 << 30
"""Weights of a model, at most, that are kept in twice the memory that their format takes."""


class Product(Protocol):
    """Multiplies rows (rows, in), float32, with a matrix of weights; gives (rows, out), float32."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Returns the product."""
        ...


def product_dtype(weights: torch.dtype, device: torch.device, count: int) -> torch.dtype:
    """Returns the number format that a model with so many weights of this format is multiplied in."""
    if device.type != "cpu" or weights == torch.float32 or multiplies_bfloat16_fast() or count > _EXPANDED_WEIGHTS:
        return weights
    return torch.float32


def product(weight: Tensor, bias: Tensor | None = None) -> Product:
    """Returns the product with a matrix (out, in) of the number format to multiply in; `bias` is added in float32."""
    if weight.device.type == "cpu" and weight.dtype == torch.float32:
        return _Transposed(weight.t().contiguous(), bias)
    return _Rounding(weight, bias)


@functools.cache
def multiplies_bfloat16_fast() -> bool:
    """Tells whether products in bf16 are faster than in fp32 on this machine's processor.

    By what the processor is, not by a measurement: a busy moment must not change a result.
    """
    capable = torch.cpu.get_capabilities()
    if capable.get("architecture") != "x86_64":
        return True
    return bool(capable.get("amx_bf16") or (capable.get("avx512_bf16") and "Intel" not in capable.get("cpu_name", "")))


class _Transposed:
    """A product in fp32 with weights that lie as (in, out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        return rows @ self._weight if self._bias is None else torch.addmm(self._bias, rows, self._weight)


class _Rounding:
    """A product with both factors in the number format of the weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        made = functional.linear(rows.to(self._weight.dtype), self._weight).float()
        return made if self._bias is None else made + self._bias
