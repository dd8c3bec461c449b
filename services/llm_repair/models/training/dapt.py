"""DAPT: domain-adaptive pre-training on the chosen continuations (arXiv 2510.20428, `sft`).

Minimises the negative log-likelihood per token. Needs chosen continuations only and no reference model. By option,
samples weigh the more the worse they are predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from llm_repair.models.training.objectives import Needs, Preview, Scored, Terms, dapt_loss, loss_weights


@dataclass(frozen=True)
class DaptObjective:
    """The objective of DAPT, and the likelihood term of the methods built on it."""

    nll_weight: float = 1.0
    reweighting_temperature: float | None = None
    """See `core.repair.DaptMethod`; the validation loss never weighs."""

    @property
    def needs(self) -> Needs:
        """The whole batch beforehand where samples are weighed by their loss."""
        weighs = self.reweighting_temperature is not None
        return Needs(may_learn_prompt=True, preview=Preview(self._weights) if weighs else None)

    def terms(self, scored: Scored) -> Terms:
        """Returns the negative log-likelihood of each sample, weighed."""
        losses = self.nll_weight * dapt_loss(scored.log_probs[:, 0])
        return Terms(losses if scored.batchwide is None else scored.batchwide * losses)

    def _weights(self, scored: Scored) -> Tensor:
        assert self.reweighting_temperature is not None
        return loss_weights(scored.log_probs[:, 0], scored.tokens[:, 0], temperature=self.reweighting_temperature)
