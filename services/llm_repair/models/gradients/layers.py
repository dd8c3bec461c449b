"""Rules: the squared norm of a sample's gradient for one layer, from the layer's inputs and output gradients.

A layer's gradient is a sum over tokens, of outer products for a matrix. Its norm does not need the sum itself:
‖Σ_t x_t g_tᵀ‖² = Σ_ts (x_t·x_s)(g_t·g_s), an inner product of two Gram matrices (Goodfellow, arXiv 1510.01799; for
sequences Li et al., ICLR 2022, §4). Where a matrix is small against the number of tokens, the sum is cheaper.

Shapes: inputs (samples, tokens, features in), gradients (samples, tokens, features out). Where a sample has two
continuations, the tokens of both stand in a row. Gradients of padding are zero. Norms add up in fp32, whatever the
format of the products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's norms are partly untyped.

PRODUCT_FLOATS = 1 << 18
"""Entries of a sample's weight gradient formed at once on a processor: 1 MiB, which stays in its cache."""
ACCELERATOR_PRODUCT_FLOATS = 1 << 28
STRIP_ROWS = 32
"""Tokens of a strip of a Gram matrix on a processor. The matrix is symmetric, so a strip leaves out what an earlier one
has: a quarter less time at 128 tokens, a third at 512."""

Gram: TypeAlias = Sequence[Tensor]
"""The upper half of Gram matrices in strips: (samples, rows, tokens from the first of these rows on)."""


@dataclass(frozen=True)
class Squares:
    """A squared norm, and how much of it cancelled on the way; both (samples,)."""

    whole: Tensor
    """‖Σ_t G_t‖²."""
    apart: Tensor
    """Σ_t ‖G_t‖² where cross terms were added up, which loses digits if far above `whole`; else `whole` again."""


@dataclass(frozen=True)
class LayerInput:
    """What went into a layer."""

    values: Tensor
    gram: Callable[[], Gram]
    """Its Gram matrices, formed once for all layers that read the same tensor."""
    readers: int
    """How many layers do."""


class Rule(Protocol):
    """How the squared norm of a kind of layer comes about."""

    def squares(self, inputs: LayerInput, gradients: Tensor) -> Iterator[Squares]:
        """Yields the parts whose sum is the squared norm of the layer's gradient."""
        ...


@dataclass(frozen=True)
class MatrixRule:
    """Of `nn.Linear`, of the transposed `Conv1D` of GPT-2, and of the two matrices of an adapter."""

    weight: bool
    """Whether it is trained."""
    bias: bool

    def squares(self, inputs: LayerInput, gradients: Tensor) -> Iterator[Squares]:
        """Yields the parts of weight and bias."""
        if self.weight:
            yield matrix_squares(inputs.values, gradients, input_gram=inputs.gram, readers=inputs.readers)
        if self.bias:
            yield vector_squares(gradients.sum(dim=1, dtype=torch.float32))


@dataclass(frozen=True)
class NormRule:
    """Of layers that scale normalised features: LayerNorm and the forms of RMSNorm."""

    normalised: Callable[[Tensor], Tensor]
    """The layer without weight and bias. Whether it multiplies by w or by 1 + w is the same for the gradient."""
    weight: bool
    bias: bool

    def squares(self, inputs: LayerInput, gradients: Tensor) -> Iterator[Squares]:
        """Yields the parts of weight and bias."""
        wide = gradients.float()
        if self.weight:
            yield vector_squares((self.normalised(inputs.values.float()) * wide).sum(dim=1))
        if self.bias:
            yield vector_squares(wide.sum(dim=1))


@dataclass(frozen=True)
class EmbeddingRule:
    """Of a table of vectors by token or by position; the inputs are row numbers, (samples, tokens)."""

    rows: int
    """Of the table."""
    padding_row: int | None
    """A row that never learns."""

    def learnt(self, ids: Tensor, gradients: Tensor) -> Tensor:
        """Returns the gradients in fp32, zero for the row that never learns."""
        wide = gradients.float()
        return wide if self.padding_row is None else wide * (ids != self.padding_row).unsqueeze(-1)

    def squares(self, inputs: LayerInput, gradients: Tensor) -> Iterator[Squares]:
        """Yields the squared norms of the sums by row."""
        ids = inputs.values
        owners = torch.arange(len(ids), device=ids.device).unsqueeze(1)
        cells, places = torch.unique(owners * self.rows + ids, return_inverse=True)
        sums = torch.zeros(len(cells), gradients.shape[-1], device=ids.device)
        sums.index_add_(0, places.flatten(), self.learnt(ids, gradients).flatten(0, 1))
        squared = torch.linalg.vecdot(sums, sums)
        whole = squared.new_zeros(len(ids)).index_add_(0, cells // self.rows, squared)
        yield Squares(whole, whole)


def matrix_squares(
    inputs: Tensor, gradients: Tensor, *, input_gram: Callable[[], Gram] | None = None, readers: int = 1
) -> Squares:
    """Returns the squared norms of Σ_t x_t g_tᵀ, the way that takes fewer operations.

    T (T + strip) (d_in / readers + d_out) by Gram matrices, 2 T d_in d_out by the product itself.
    """
    tokens, width_in, width_out = inputs.shape[1], inputs.shape[2], gradients.shape[2]
    rows = min(tokens, _strip_rows(inputs, tokens))
    if (tokens + rows) / 2 * (width_in / readers + width_out) > width_in * width_out:
        return product_squares(inputs, gradients)
    return gram_squares(input_gram() if input_gram else gram(inputs), gram(gradients))


def gram(values: Tensor) -> Gram:
    """Returns the inner products of all tokens of a sample, each pair of strips once."""
    tokens = values.shape[1]
    starts = range(0, tokens, _strip_rows(values, tokens))
    turned = values.transpose(1, 2)
    return [torch.bmm(values[:, start : start + starts.step], turned[:, :, start:]) for start in starts]


def gram_squares(inputs: Gram, gradients: Gram) -> Squares:
    """Returns the squared norms from the Gram matrices of inputs and gradients."""
    whole: list[Tensor] = []
    apart: list[Tensor] = []
    for left, right in zip(inputs, gradients, strict=True):
        products = left.float() * right.float()
        rows = products.shape[1]
        # What is right of the block on the diagonal stands below it too.
        whole.append(2 * products.sum(dim=(1, 2)) - products[:, :, :rows].sum(dim=(1, 2)))
        apart.append(products.diagonal(dim1=1, dim2=2).sum(dim=1))
    return Squares(torch.stack(whole).sum(dim=0), torch.stack(apart).sum(dim=0))


def _strip_rows(values: Tensor, tokens: int) -> int:
    return STRIP_ROWS if values.device.type == "cpu" else max(tokens, 1)


def product_squares(inputs: Tensor, gradients: Tensor) -> Squares:
    """Returns the squared norms from the weight gradients, of which a part is formed at a time."""
    floats = PRODUCT_FLOATS if gradients.device.type == "cpu" else ACCELERATOR_PRODUCT_FLOATS
    width_in, width_out = inputs.shape[2], gradients.shape[2]
    size = max(1, floats // (width_in * width_out))
    columns = max(1, min(width_out, floats // width_in))
    whole: list[Tensor] = []
    for left, right in zip(inputs.to(gradients.dtype).split(size), gradients.split(size), strict=True):
        parts = [torch.bmm(left.transpose(1, 2), part).flatten(1) for part in right.split(columns, dim=2)]
        norms = [torch.linalg.vector_norm(part, dim=1, dtype=torch.float32).square() for part in parts]
        whole.append(torch.stack(norms).sum(dim=0))
    return Squares(torch.cat(whole), torch.cat(whole))


def vector_squares(sums: Tensor) -> Squares:
    """Returns the squared norms of vectors, (samples, features)."""
    squared = torch.linalg.vecdot(sums, sums)
    return Squares(squared, squared)


def layer_normalised(layer: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    """Returns LayerNorm without its weight and bias."""
    return lambda values: functional.layer_norm(values, layer.normalized_shape, eps=layer.eps)


def root_mean_square_normalised(eps: float) -> Callable[[Tensor], Tensor]:
    """Returns RMSNorm without its weight."""
    return lambda values: values * torch.rsqrt(values.square().mean(dim=-1, keepdim=True) + eps)
