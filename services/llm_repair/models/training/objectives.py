"""Repair objectives as pure functions of tensors.

Log-probabilities are in nats and summed over a continuation's learnt tokens, one entry per sample, unless said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""Label of a token that is not learnt: padding and, unless asked for, the prompt. Never a token id, so that a
real end-of-text token is learnt even where it doubles as padding (paper.md §8.11-13)."""


@dataclass(frozen=True)
class Scored:
    """What an objective sees of some samples."""

    log_probs: Tensor
    """(samples, continuations) of the model in training."""
    reference: Tensor
    """(samples, continuations) of the model before training; zeros where the objective does not need it."""
    tokens: Tensor
    """(samples, continuations): learnt tokens of each continuation, at least 1."""
    desirable: Tensor
    """(samples,) bool: whether the continuation of an unpaired sample is a wanted one; true for other samples."""
    batchwide: Tensor | None = None
    """(samples,) what the objective's preview made of the whole batch; None without one."""


@dataclass(frozen=True)
class Terms:
    """What an objective makes of a batch of samples."""

    losses: Tensor
    """(samples,) in nats; what is minimised, before averaging."""
    measures: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Shown in the training curve: by name, (samples,), detached."""


@dataclass(frozen=True)
class Preview:
    """What an objective has to know of the whole batch before it can give any part of it a gradient.

    Costs a forward pass over the batch; of mismatched pairs another one at the reference.
    """

    conclude: Callable[[Scored], Tensor]
    """From the scored batch, without gradient, to `Scored.batchwide`: (samples,), or () for one number for all."""
    mismatched: bool = False
    """Scores each prompt with the continuation of the next sample of the batch instead of its own; no sample at all
    where the batch has but one."""
    when_validating: bool = False
    """Whether the validation loss needs it too; there the batch is all that is held out."""


@dataclass(frozen=True)
class Needs:
    """What an objective asks of the training loop."""

    continuations: int = 1
    """How many continuations of a sample its loss reads: the chosen one, or also the rejected one."""
    reference: bool = False
    """Whether it looks at the log-probabilities of the model before training."""
    averages_over_tokens: bool = True
    """Whether the loss of a batch is divided by its learnt tokens; by its samples if not."""
    may_learn_prompt: bool = False
    """Whether the option to learn the prompt's tokens means anything to it; the others condition on the prompt."""
    preview: Preview | None = None
    kl_weight: float = 0.0
    """Of the divergence from the reference model on utility texts; above 0, such texts are needed."""
    one_block: bool = False
    """Whether only the block most sensitive to the last continuation of the samples is updated."""


class Objective(Protocol):
    """What a repair method minimises; the training loop knows nothing else of the method."""

    @property
    def needs(self) -> Needs:
        """What it asks of the loop."""
        ...

    def terms(self, scored: Scored) -> Terms:
        """Returns the losses of some samples."""
        ...


@dataclass(frozen=True)
class DpoTerms:
    """What direct preference optimisation makes of a batch; each of shape (batch,)."""

    losses: Tensor
    chosen_rewards: Tensor
    """β (log π(y+|x) - log π_ref(y+|x)); detached."""
    rejected_rewards: Tensor
    """β (log π(y-|x) - log π_ref(y-|x)); detached."""

    @property
    def measures(self) -> Mapping[str, Tensor]:
        """The reward margin of each pair, and whether it is ranked right (0.5 for a tie)."""
        margins = self.chosen_rewards - self.rejected_rewards
        return {"reward_margin": margins, "reward_accuracy": (margins.sign() + 1) / 2}


def dapt_loss(chosen: Tensor) -> Tensor:
    """Returns the negative log-likelihood of each chosen continuation.

    chosen: (batch,) summed log π(y+|x). The mean over a batch is taken over its tokens by the training loop.
    Source: arXiv 2510.20428, `sft`. We differ: the release sums over tokens and averages over samples, which
    ties the step size to the length of the texts (paper.md §8.15).
    """
    return -chosen


def loss_weights(log_probs: Tensor, tokens: Tensor, *, temperature: float) -> Tensor:
    """Returns the weight of each sample in a batch by how badly it is predicted: (batch,), of mean 1, detached.

    w = n softmax(ℓ / τ), with ℓ the loss per token of each of the n samples. log_probs, tokens: (batch,).
    temperature: τ > 0 in nats; the weights are equal as it grows, and the worst sample takes all as it falls to 0.
    Source: the exponential tilt of Li et al., "Tilted Empirical Risk Minimization", ICLR 2021, eq. 1 and §2, where
    the tilted loss weighs each gradient by softmax(t ℓ), t = 1/τ, over the mini-batch.
    """
    per_token = -log_probs.detach() / tokens
    return torch.softmax(per_token / temperature, dim=0) * len(per_token)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> DpoTerms:
    """Returns the loss of direct preference optimisation for each pair, with its rewards.

    h = β [(log π(y+) - log π(y-)) - (log π_ref(y+) - log π_ref(y-))] and
    loss = -(1 - ε) log σ(h) - ε log σ(-h). Each input: (batch,) log-probabilities summed over the continuation.
    beta: β > 0. label_smoothing: ε in [0, 0.5), the assumed share of flipped preferences.
    Source: Rafailov et al., NeurIPS 2023, eq. 7; ε from Mitchell's conservative DPO.
    """
    logits = beta * ((chosen - rejected) - (ref_chosen - ref_rejected))
    kept = (1 - label_smoothing) * functional.logsigmoid(logits)
    flipped = label_smoothing * functional.logsigmoid(-logits)
    return DpoTerms(
        losses=-kept - flipped,
        chosen_rewards=beta * (chosen - ref_chosen).detach(),
        rejected_rewards=beta * (rejected - ref_rejected).detach(),
    )


def exmate_loss(chosen: Tensor, rejected: Tensor, *, penalty_weight: float) -> Tensor:
    """Returns a loss that rewards the chosen and penalises the rejected continuation of each pair: (batch,).

    loss = -log π̄(y+) + λ π̄(y-), with π̄ the geometric mean of a continuation's token probabilities.
    chosen, rejected: (batch,) log π̄, the mean log-probability per token. penalty_weight: λ >= 0. The gradient of the
    penalty is λ π̄(y-) times that of log π̄(y-), so it fades as the continuation becomes unlikely and, other than that
    of an unlikelihood, is bounded. Source: after ExMATE, Tuan & Wang, arXiv 2408.16751, and Tuan et al., Findings of
    ACL 2023 ("CausalDialogue"). We differ: λ is ours, and each continuation is averaged over its own tokens, so that
    neither its length nor that of its rival decides its share.
    """
    return -chosen + penalty_weight * rejected.exp()


def kto_loss(log_ratios: Tensor, desirable: Tensor, baseline: Tensor, *, beta: float) -> Tensor:
    """Returns the loss of Kahneman-Tversky optimisation for each sample, before the weights λ_D and λ_U: (batch,).

    1 - σ(β (r - z0)) for a desirable sample and 1 - σ(β (z0 - r)) for an undesirable one.
    log_ratios: (batch,) r = log π(y|x) - log π_ref(y|x). desirable: (batch,) bool. baseline: z0, broadcast, without
    gradient; see `kto_baseline`. beta: β > 0. Source: Ethayarajh et al., ICML 2024, eq. 8.
    """
    margins = beta * (log_ratios - baseline)
    return functional.sigmoid(torch.where(desirable, -margins, margins))


def kto_baseline(mismatched_log_ratios: Tensor) -> Tensor:
    """Returns the point z0 from which KTO counts gains and losses: (), at least 0.

    z0 = max(0, mean of log π(y'|x) - log π_ref(y'|x)) over mismatched pairs, an estimate of KL(π ‖ π_ref).
    mismatched_log_ratios: (pairs,), without gradient. None at all, from a batch of one, give 0, the least it can be.
    Source: Ethayarajh et al., ICML 2024, §4.1.
    """
    ratios = mismatched_log_ratios.detach()
    return ratios.mean().clamp(min=0) if len(ratios) else ratios.new_zeros(())


def kl_divergence(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """Returns KL(P_ref ‖ P) of the next-token distributions at each position: (positions,), nats, at least 0.

    reference_logits, logits: (positions, vocab), fp32. Exactly 0 where they are equal. Source: arXiv 2510.20428,
    KL_u (paper.md §3); the mean over utility tokens is taken by the training loop.
    """
    log_p, log_q = reference_logits.log_softmax(dim=-1), logits.log_softmax(dim=-1)
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)
