"""LOSS: the mean negative log-likelihood of a learnt token, in nats; the cheapest thing to ask a model."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns -log p of each token, (tokens,). logits: (tokens, vocab), fp32."""
    return functional.cross_entropy(logits, targets, reduction="none")
