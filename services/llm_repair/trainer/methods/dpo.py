"""DPO: direct preference optimisation of chosen over rejected continuations (Rafailov et al., NeurIPS 2023).

Needs pairs, and the log-probabilities of both continuations at the model before training.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.repair import DpoMethod
from llm_repair.models.training.objectives import Needs, Scored, Terms, dpo_loss


@dataclass(frozen=True)
class DpoObjective:
    """The objective of DPO."""

    parameters: DpoMethod

    @property
    def needs(self) -> Needs:
        """Pairs, and the reference; the prompts would cancel."""
        return Needs(continuations=2, reference=True, averages_over_tokens=False)

    def terms(self, scored: Scored) -> Terms:
        """Returns the loss of each pair, its reward margin and whether it is ranked right (0.5 for a tie)."""
        dpo = dpo_loss(
            *scored.log_probs.unbind(dim=1),
            *scored.reference.unbind(dim=1),
            beta=self.parameters.beta,
            label_smoothing=self.parameters.label_smoothing,
        )
        return Terms(dpo.losses, dpo.measures)
