"""DAPT: domain-adaptive pre-training on the chosen continuations (arXiv 2510.20428, `sft`).

Minimises the negative log-likelihood per token. Needs chosen continuations only and no reference model.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from llm_repair.models.training.objectives import Terms, dapt_loss


@dataclass(frozen=True)
class DaptObjective:
    """The objective of DAPT."""

    continuations: int = 1
    needs_reference: bool = False
    averages_over_tokens: bool = True

    def terms(self, log_probs: Tensor, reference: Tensor) -> Terms:
        """Returns the negative log-likelihood of each sample; see `objectives.Objective`."""
        return Terms(losses=dapt_loss(log_probs[:, 0]), measures={})
