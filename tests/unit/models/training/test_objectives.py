"""Losses against numbers worked by hand, TRL and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from llm_repair.models.training.objectives import IGNORED, dapt_loss, dpo_loss, sequence_log_probs


@pytest.mark.parametrize("beta", [0.01, 0.1, 5.0])
def test_dpo_loss_is_ln_2_where_policy_equals_reference(beta: float) -> None:
    chosen, rejected = torch.tensor([-3.0, -70.0]), torch.tensor([-4.0, -1.0])

    terms = dpo_loss(chosen, rejected, chosen, rejected, beta=beta)

    torch.testing.assert_close(terms.losses, torch.full((2,), math.log(2)))
    assert terms.chosen_rewards.tolist() == terms.rejected_rewards.tolist() == [0.0, 0.0]


def test_dpo_loss_of_one_row_worked_by_hand() -> None:
    """beta 0.1, log-ratios: policy -10 - (-14) = 4, reference -12 - (-11) = -1, so h = 0.1 * 5 = 0.5.

    -log sigma(0.5) = log(1 + e^-0.5) = 0.474077; rewards 0.1 * (-10 + 12) = 0.2 and 0.1 * (-14 + 11) = -0.3.
    """
    terms = dpo_loss(*(torch.tensor([value]) for value in (-10.0, -14.0, -12.0, -11.0)), beta=0.1)

    assert terms.losses.item() == pytest.approx(0.474077, abs=1e-6)
    assert terms.chosen_rewards.item() == pytest.approx(0.2)
    assert terms.rejected_rewards.item() == pytest.approx(-0.3)


def test_label_smoothing_mixes_in_the_flipped_pair() -> None:
    """The same row with eps 0.1: 0.9 * 0.474077 + 0.1 * log(1 + e^0.5) = 0.426669 + 0.097408 = 0.524077."""
    terms = dpo_loss(*(torch.tensor([value]) for value in (-10.0, -14.0, -12.0, -11.0)), beta=0.1, label_smoothing=0.1)

    assert terms.losses.item() == pytest.approx(0.524077, abs=1e-6)


def test_dpo_gradient_agrees_with_finite_differences() -> None:
    inputs = [torch.tensor([v, -v], dtype=torch.float64, requires_grad=True) for v in (-1.0, -2.0)]
    reference = [torch.tensor([-1.5, 0.3], dtype=torch.float64), torch.tensor([-0.7, 1.1], dtype=torch.float64)]

    def loss(chosen: Tensor, rejected: Tensor) -> Tensor:
        return dpo_loss(chosen, rejected, *reference, beta=0.4, label_smoothing=0.2).losses

    assert torch.autograd.gradcheck(loss, inputs)


def test_dpo_loss_stays_finite_for_extreme_log_ratios() -> None:
    terms = dpo_loss(torch.tensor([-1e5]), torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([-1e5]), beta=0.5)

    assert terms.losses.item() == pytest.approx(1e5)


def test_dapt_loss_is_the_negative_log_likelihood() -> None:
    assert dapt_loss(torch.tensor([-2.5, -0.5])).tolist() == [2.5, 0.5]


def test_sequence_log_probs_count_labelled_tokens_only() -> None:
    """Vocabulary of 2, logits (0, log 3): probabilities 1/4 and 3/4. Labels 1, 0 count, the first and last do not.

    Column 0 has no predictor, so the labels at columns 1 and 2 give log(3/4) + log(1/4).
    """
    logits = torch.tensor([0.0, math.log(3)]).expand(1, 4, 2)

    found = sequence_log_probs(logits, torch.tensor([[IGNORED, 1, 0, IGNORED]]))

    assert found.item() == pytest.approx(math.log(3 / 4) + math.log(1 / 4))
