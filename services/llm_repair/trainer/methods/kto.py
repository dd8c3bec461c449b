"""KTO: Kahneman-Tversky optimisation of unpaired continuations (Ethayarajh et al., ICML 2024).

loss = λ_D (1 - σ(β (r - z0))) for a wanted continuation, λ_U (1 - σ(β (z0 - r))) for an unwanted one, with r the
log-ratio of the model to the one before training and z0 the mean of such ratios over mismatched pairs of the batch.
Needs labels only; a row with both continuations counts as two samples. Its authors advise to choose the weights so
that λ_D n_D / (λ_U n_U) lies in [1, 4/3], where the labels are not balanced.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm_repair.core.repair import KtoMethod
from llm_repair.models.training.objectives import Needs, Preview, Scored, Terms, kto_baseline, kto_loss


@dataclass(frozen=True)
class KtoObjective:
    """The objective of KTO."""

    parameters: KtoMethod

    @property
    def needs(self) -> Needs:
        """The reference, and mismatched pairs of the whole batch; the prompt is given, not learnt."""
        preview = Preview(_baseline, mismatched=True, when_validating=True)
        return Needs(reference=True, averages_over_tokens=False, preview=preview)

    def terms(self, scored: Scored) -> Terms:
        """Returns the loss of each sample, the batch's z0, and whether it is on its side of that (0.5 for a tie)."""
        assert scored.batchwide is not None
        log_ratios = (scored.log_probs - scored.reference)[:, 0]
        losses = kto_loss(log_ratios, scored.desirable, scored.batchwide, beta=self.parameters.beta)
        wanted, unwanted = self.parameters.desirable_weight, self.parameters.undesirable_weight
        weighed = torch.where(scored.desirable, wanted * losses, unwanted * losses)
        accuracy = ((0.5 - losses.detach()).sign() + 1) / 2
        return Terms(weighed, {"baseline": scored.batchwide, "reward_accuracy": accuracy})


def _baseline(mismatched: Scored) -> Tensor:
    return kto_baseline((mismatched.log_probs - mismatched.reference)[:, 0])
