"""Error norms of tokens, against numbers worked out by hand."""

import math

import pytest
import torch

from llm_repair.selection.scoring.el2n import error_norms


def test_the_norm_is_that_of_probabilities_minus_the_target() -> None:
    """p = (1/2, 1/4, 1/4); against the first √(1/4 + 1/16 + 1/16) = √6/4, against the second √(1/4 + 9/16 + 1/16)."""
    logits = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]) * math.log(2)

    found = error_norms(logits, torch.tensor([0, 1]))

    assert found.tolist() == pytest.approx([math.sqrt(6) / 4, math.sqrt(14) / 4])


def test_a_sure_mistake_has_the_largest_norm_there_is() -> None:
    found = error_norms(torch.tensor([[50.0, 0.0]]), torch.tensor([1]))

    assert found.tolist() == pytest.approx([math.sqrt(2)])


def test_small_errors_keep_their_digits() -> None:
    """p = (1 - 2ε, ε, ε) with ε = e⁻¹²: √6 ε to first order; ‖p‖² - 2 p_y + 1 would leave rounding of 1e-7."""
    found = error_norms(torch.tensor([[12.0, 0.0, 0.0]]), torch.tensor([0]))

    assert found.tolist() == pytest.approx([math.sqrt(6) * math.exp(-12)], rel=0.02)
