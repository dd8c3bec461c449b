"""DPO: direct preference optimisation of chosen over rejected continuations (Rafailov et al., NeurIPS 2023).

Needs pairs, and the log-probabilities of both continuations at the model before training.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from llm_repair.core.repair import DpoMethod
from llm_repair.models.training.objectives import Terms, dpo_loss


@dataclass(frozen=True)
class DpoObjective:
    """The objective of DPO."""

    parameters: DpoMethod
    continuations: int = 2
    needs_reference: bool = True
    averages_over_tokens: bool = False

    def terms(self, log_probs: Tensor, reference: Tensor) -> Terms:
        """Returns the loss of each pair, its reward margin and whether it is ranked right (0.5 for a tie)."""
        chosen, rejected = log_probs.unbind(dim=1)
        ref_chosen, ref_rejected = reference.unbind(dim=1)
        dpo = dpo_loss(
            chosen,
            rejected,
            ref_chosen,
            ref_rejected,
            beta=self.parameters.beta,
            label_smoothing=self.parameters.label_smoothing,
        )
        margins = dpo.chosen_rewards - dpo.rejected_rewards
        return Terms(dpo.losses, {"reward_margin": margins, "reward_accuracy": (margins.sign() + 1) / 2})
