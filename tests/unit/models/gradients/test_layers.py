"""The rules on numbers small enough to work out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from llm_repair.models.gradients import layers
from llm_repair.models.gradients.layers import (
    EmbeddingRule,
    Gram,
    LayerInput,
    MatrixRule,
    NormRule,
    gram,
    gram_squares,
    matrix_squares,
    product_squares,
    root_mean_square_normalised,
)

INPUTS = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
GRADIENTS = torch.tensor([[[1.0, 1.0], [0.0, -2.0]]])
"""G = [1 2]ᵀ[1 1] + [3 0]ᵀ[0 -2] = [[1, -5], [2, 2]]; ‖G‖² = 1 + 25 + 4 + 4 = 34.
Apart: ‖[1 2]‖² ‖[1 1]‖² + ‖[3 0]‖² ‖[0 -2]‖² = 5 · 2 + 9 · 4 = 46."""


def layer_input(values: Tensor) -> LayerInput:
    return LayerInput(values, gram=lambda: gram(values), readers=1)


def test_both_ways_give_the_norm_of_the_sum_of_outer_products() -> None:
    by_gram = gram_squares(gram(INPUTS), gram(GRADIENTS))
    by_product = product_squares(INPUTS, GRADIENTS)

    assert (by_gram.whole.tolist(), by_gram.apart.tolist()) == ([34.0], [46.0])
    assert by_product.whole.tolist() == by_product.apart.tolist() == pytest.approx([34.0])


def test_a_bias_has_the_sum_of_the_gradients() -> None:
    """[1 1] + [0 -2] = [1 -1]."""
    [squares] = MatrixRule(weight=False, bias=True).squares(layer_input(INPUTS), GRADIENTS)

    assert squares.whole.tolist() == [2.0]


def test_a_scale_has_the_sum_of_products_with_the_normalised_inputs() -> None:
    """[3 4] and [5 0] over their root mean squares 5/√2: √2 [0.6 0.8] and √2 [1 0].

    Products with [1 1] and [0 -2]: √2 [0.6 0.8] and [0 0]; ‖sum‖² = 2 · (0.36 + 0.64) = 2.
    """
    values = torch.tensor([[[3.0, 4.0], [5.0, 0.0]]])
    rule = NormRule(root_mean_square_normalised(0.0), weight=True, bias=False)

    [squares] = rule.squares(layer_input(values), GRADIENTS)

    assert squares.whole.tolist() == pytest.approx([2.0])


def test_an_embedding_adds_up_the_gradients_of_equal_tokens_within_a_sample_only() -> None:
    """Sample 0 has token 4 twice: [1 1] + [0 -2] = [1 -1], 2. Sample 1 has 4 and 5: 1 · 1 + 2 · 2 + 0 = 2 + 4."""
    ids = torch.tensor([[4, 4], [4, 5]])

    [squares] = EmbeddingRule(rows=9, padding_row=None).squares(layer_input(ids), GRADIENTS.repeat(2, 1, 1))

    assert squares.whole.tolist() == [2.0, 6.0]


def test_a_padding_row_counts_nothing() -> None:
    ids = torch.tensor([[4, 4], [4, 5]])

    [squares] = EmbeddingRule(rows=9, padding_row=4).squares(layer_input(ids), GRADIENTS.repeat(2, 1, 1))

    assert squares.whole.tolist() == [0.0, 4.0]


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 70])
def test_strips_count_what_lies_below_the_diagonal_too(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, gradients = (torch.randn(3, tokens, width, generator=generator) for width in (6, 11))

    found = gram_squares(gram(inputs), gram(gradients))

    sums = torch.einsum("nti,nto->nio", inputs, gradients).square().sum(dim=(1, 2))
    apart = (inputs.square().sum(dim=2) * gradients.square().sum(dim=2)).sum(dim=1)
    torch.testing.assert_close(found.whole, sums, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found.apart, apart, rtol=1e-5, atol=1e-4)


def test_products_in_parts_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one row of the weight and of one sample; and of several samples at once."""
    generator = torch.Generator().manual_seed(0)
    inputs, gradients = (torch.randn(5, 7, width, generator=generator) for width in (6, 11))
    expected = torch.einsum("nti,nto->nio", inputs, gradients).square().sum(dim=(1, 2))

    for floats in (1, 20, 6 * 11 * 2, 1 << 20):
        monkeypatch.setattr(layers, "PRODUCT_FLOATS", floats)
        torch.testing.assert_close(product_squares(inputs, gradients).whole, expected)


@pytest.mark.parametrize(("tokens", "readers", "asked"), [(2, 1, True), (5, 1, False), (5, 3, True)])
def test_the_cheaper_way_is_taken(tokens: int, readers: int, asked: bool) -> None:
    """6 by 6: Gram while T (6 / readers + 6) ≤ 36, so up to 3 tokens alone, 4.5 with three readers.

    At 5 tokens and three readers of 12 by 3: 5 (4 + 3) = 35 ≤ 36.
    """
    width_in, width_out = (12, 3) if readers == 3 else (6, 6)
    inputs, gradients = torch.ones(1, tokens, width_in), torch.ones(1, tokens, width_out)
    calls: list[int] = []

    def counted() -> Gram:
        calls.append(1)
        return gram(inputs)

    squares = matrix_squares(inputs, gradients, input_gram=counted, readers=readers)

    assert bool(calls) is asked
    # Every entry of the product is T.
    assert squares.whole.tolist() == pytest.approx([width_in * width_out * tokens**2])
