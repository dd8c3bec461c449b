"""EXMATE: rewards chosen and penalises rejected continuations, without a reference model (arXiv 2408.16751).

loss = -log π̄(y+|x) + λ π̄(y-|x), with π̄ the geometric mean of the token probabilities, and w times DPO's loss beside
it, which its authors found better than either. Needs pairs; the reference only for w > 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.repair import ExmateMethod
from llm_repair.models.training.objectives import Needs, Scored, Terms, dpo_loss, exmate_loss


@dataclass(frozen=True)
class ExmateObjective:
    """The objective of EXMATE."""

    parameters: ExmateMethod

    @property
    def needs(self) -> Needs:
        """Pairs; the reference for the DPO term."""
        return Needs(continuations=2, reference=self.parameters.dpo_weight > 0, averages_over_tokens=False)

    def terms(self, scored: Scored) -> Terms:
        """Returns the loss of each pair and the mean probability of a rejected token; DPO's measures beside it."""
        chosen, rejected = (scored.log_probs / scored.tokens).unbind(dim=1)
        losses = exmate_loss(chosen, rejected, penalty_weight=self.parameters.penalty_weight)
        measures = {"rejected_probability": rejected.detach().exp()}
        if self.parameters.dpo_weight == 0:
            return Terms(losses, measures)
        dpo = dpo_loss(*scored.log_probs.unbind(dim=1), *scored.reference.unbind(dim=1), beta=self.parameters.beta)
        return Terms(losses + self.parameters.dpo_weight * dpo.losses, {**measures, **dpo.measures})
