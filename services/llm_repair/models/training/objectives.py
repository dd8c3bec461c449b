"""Repair objectives as pure functions of tensors.

Every function works on log-probabilities in nats, summed over a continuation, one entry per sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""Label of a token that is not learnt: padding and, unless asked for, the prompt. Never a token id, so that a
real end-of-text token is learnt even where it doubles as padding (paper.md §8.11-13)."""


@dataclass(frozen=True)
class Terms:
    """What an objective makes of a batch of samples."""

    losses: Tensor
    """(samples,) in nats; what is minimised, before averaging."""
    measures: Mapping[str, Tensor]
    """Shown in the training curve: by name, (samples,), detached."""


class Objective(Protocol):
    """What a repair method minimises; the training loop knows nothing else of the method."""

    @property
    def continuations(self) -> int:
        """How many continuations of a sample it compares: the chosen one, or also the rejected one."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether it looks at the log-probabilities of the model before training."""
        ...

    @property
    def averages_over_tokens(self) -> bool:
        """Whether the loss of a batch is divided by its learnt tokens; by its samples if not."""
        ...

    def terms(self, log_probs: Tensor, reference: Tensor) -> Terms:
        """Returns the losses of a batch.

        log_probs: (samples, continuations) of the model in training. reference: the same before training;
        zeros where `needs_reference` is false.
        """
        ...


@dataclass(frozen=True)
class DpoTerms:
    """What direct preference optimisation makes of a batch; each of shape (batch,)."""

    losses: Tensor
    chosen_rewards: Tensor
    """β (log π(y+|x) - log π_ref(y+|x)); detached."""
    rejected_rewards: Tensor
    """β (log π(y-|x) - log π_ref(y-|x)); detached."""


def dapt_loss(chosen: Tensor) -> Tensor:
    """Returns the negative log-likelihood of each chosen continuation.

    chosen: (batch,) summed log π(y+|x). The mean over a batch is taken over its tokens by the training loop.
    Source: arXiv 2510.20428, `sft`. We differ: the release sums over tokens and averages over samples, which
    ties the step size to the length of the texts (paper.md §8.15).
    """
    return -chosen


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


def sequence_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns log p of the labelled tokens of each row, summed: (rows,).

    logits: (rows, columns, vocab), of which column t predicts column t + 1. labels: (rows, columns) token ids,
    `IGNORED` where a token does not count. The plain path: it needs the logits of every position, so training
    uses `log_probs.continuation_log_probs` and tests compare the two.
    """
    targets = labels[:, 1:]
    counted = targets != IGNORED
    scores = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    picked = scores.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(counted, picked, torch.zeros_like(picked)).sum(dim=-1)
