"""Losses against numbers worked by hand, TRL and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llm_repair.models.training.objectives import (
    dapt_loss,
    dpo_loss,
    exmate_loss,
    kl_divergence,
    kto_baseline,
    kto_loss,
    loss_weights,
)


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


def test_exmate_loss_worked_by_hand() -> None:
    """log π̄ of -2 and of log(1/4): 2 + λ/4, which is 2.25 for λ = 1 and 2.025 for λ = 0.1."""
    chosen, rejected = torch.tensor([-2.0]), torch.tensor([math.log(1 / 4)])

    losses = [exmate_loss(chosen, rejected, penalty_weight=weight).item() for weight in (0.0, 0.1, 1.0)]

    assert losses == pytest.approx([2.0, 2.025, 2.25])


def test_exmate_penalty_pulls_as_hard_as_the_rejected_continuation_is_likely() -> None:
    """The gradient with respect to log π̄(y-) is λ π̄(y-): 0.5 * 0.9 and 0.5 * 0.01; that of log π̄(y+) is -1."""
    chosen = torch.zeros(2, requires_grad=True)
    rejected = torch.tensor([0.9, 0.01]).log().requires_grad_()

    exmate_loss(chosen, rejected, penalty_weight=0.5).sum().backward()

    torch.testing.assert_close(rejected.grad, torch.tensor([0.45, 0.005]))
    torch.testing.assert_close(chosen.grad, torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize(
    ("ratio", "desirable", "expected"),
    [(0.0, True, 0.5), (0.0, False, 0.5), (10.0, True, 0.268941), (10.0, False, 0.731059), (4.0, True, 0.401312)],
)
def test_kto_loss_worked_by_hand(ratio: float, desirable: bool, expected: float) -> None:
    """beta 0.1, z0 0: 1 - sigma(0) = 0.5, 1 - sigma(1) = 0.268941, its mirror 0.731059, 1 - sigma(0.4) = 0.401312."""
    loss = kto_loss(torch.tensor([ratio]), torch.tensor([desirable]), torch.tensor(0.0), beta=0.1)

    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_kto_baseline_moves_the_point_from_which_gains_count() -> None:
    """With z0 = 10, a ratio of 10 is neither gain nor loss, whatever is wanted."""
    losses = kto_loss(torch.tensor([10.0, 10.0]), torch.tensor([True, False]), torch.tensor(10.0), beta=0.1)

    assert losses.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("ratios", "expected"), [([1.0, 4.0, -2.0], 1.0), ([-3.0, 1.0], 0.0), ([], 0.0)])
def test_kto_baseline_is_the_mean_ratio_but_never_negative(ratios: list[float], expected: float) -> None:
    """(1 + 4 - 2) / 3 = 1; (-3 + 1) / 2 = -1 counts as 0, and so does a batch without mismatched pairs."""
    assert kto_baseline(torch.tensor(ratios)).item() == pytest.approx(expected)


def test_kto_baseline_and_loss_weights_carry_no_gradient() -> None:
    scores = torch.tensor([-3.0, -1.0], requires_grad=True)

    assert not kto_baseline(scores + 5).requires_grad
    assert not loss_weights(scores, torch.tensor([1, 1]), temperature=1.0).requires_grad


@pytest.mark.parametrize("desirable", [True, False])
def test_kto_gradient_agrees_with_finite_differences(desirable: bool) -> None:
    ratios = torch.tensor([-1.5, 0.2, 7.0], dtype=torch.float64, requires_grad=True)
    labels, baseline = torch.full((3,), desirable), torch.tensor(0.7, dtype=torch.float64)

    assert torch.autograd.gradcheck(lambda given: kto_loss(given, labels, baseline, beta=0.3), [ratios])


def test_samples_weigh_by_their_loss_per_token() -> None:
    """Losses per token 6/3 = 2 and 2/2 = 1, so softmax of (2, 1) / τ times 2: for τ = 1 of e/(e+1) = 0.731059 each."""
    weights = loss_weights(torch.tensor([-6.0, -2.0]), torch.tensor([3, 2]), temperature=1.0)

    assert weights.tolist() == pytest.approx([1.462117, 0.537883], abs=1e-6)


@given(
    losses=st.lists(st.floats(0, 30), min_size=1, max_size=8),
    temperature=st.floats(0.05, 1e6),
)
def test_weights_have_mean_one_and_grow_with_the_loss(losses: list[float], temperature: float) -> None:
    weights = loss_weights(-torch.tensor(losses), torch.ones(len(losses)), temperature=temperature)

    assert weights.mean().item() == pytest.approx(1, abs=1e-5)
    order = torch.tensor(losses).argsort()
    assert (weights[order].diff() >= -1e-5).all()


def test_weights_of_a_high_temperature_are_all_one_and_of_a_low_one_the_worst_sample_takes_all() -> None:
    losses, tokens = torch.tensor([-5.0, -1.0, -3.0]), torch.ones(3)

    assert loss_weights(losses, tokens, temperature=1e9).tolist() == pytest.approx([1, 1, 1])
    assert loss_weights(losses, tokens, temperature=1e-3).tolist() == pytest.approx([3, 0, 0])


def test_kl_divergence_worked_by_hand() -> None:
    """P = (1/4, 3/4), Q = (1/2, 1/2): 1/4 log(1/2) + 3/4 log(3/2) = -0.173287 + 0.304099 = 0.130812.

    The other way round: 1/2 log 2 + 1/2 log(2/3) = 0.346574 - 0.202733 = 0.143841.
    """
    p, q = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[5.0, 5.0]])

    assert kl_divergence(p, q).item() == pytest.approx(0.130812, abs=1e-6)
    assert kl_divergence(q, p).item() == pytest.approx(0.143841, abs=1e-6)


def test_kl_divergence_of_a_distribution_from_itself_is_exactly_zero() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)) * 20

    assert kl_divergence(logits, logits.clone()).tolist() == [0.0] * 50


def test_kl_gradient_is_the_difference_of_the_probabilities() -> None:
    """d KL(P ‖ Q) / d logits of Q = Q - P."""
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    q = torch.randn(3, 7, generator=generator, dtype=torch.float64).requires_grad_()

    kl_divergence(p, q).sum().backward()

    torch.testing.assert_close(q.grad, q.detach().softmax(-1) - p.softmax(-1))
    assert torch.autograd.gradcheck(lambda logits: kl_divergence(p, logits), [q])
