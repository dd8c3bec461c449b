"""EL2N: the l2 norm of the error vector, the mean over the learnt tokens; a relative of GRAND by a forward pass alone.

Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, def. 2.2: E ‖p(w, x) - y‖₂, over several initial weights w.

We differ: a sample of a classifier has one error vector, a continuation has one per token; their mean counts. A
pretrained model has one w, so there is no expectation.
"""

from __future__ import annotations

import torch
from torch import Tensor

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's norms are partly untyped.


def error_norms(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns ‖softmax(logits) - onehot(target)‖₂ of each token, (tokens,), in [0, √2].

    logits: (tokens, vocab), fp32. The one is subtracted in place: expanded, ‖p‖² - 2 p_y + 1 would lose all digits
    where the model is sure and right.
    """
    errors = torch.softmax(logits, dim=1)
    errors[torch.arange(len(targets), device=targets.device), targets] -= 1
    return torch.linalg.vector_norm(errors, dim=1)
