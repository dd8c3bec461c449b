"""DAPT_KL: DAPT with a term that keeps the model's own words likely (arXiv 2510.20428, `sftkl`; paper.md §3).

loss = b NLL(y+|x) + γ KL_u, the first the mean over the batch's tokens, the second the mean of KL(P_ref ‖ P) over the
tokens of as many utility texts. Needs chosen continuations and utility texts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm_repair.core.repair import DaptKlMethod
from llm_repair.models.training.dapt import DaptObjective
from llm_repair.models.training.objectives import Needs, Scored, Terms


@dataclass(frozen=True)
class DaptKlObjective:
    """The objective of DAPT_KL."""

    parameters: DaptKlMethod

    @property
    def needs(self) -> Needs:
        """Those of DAPT, and utility texts."""
        return replace(self._likelihood.needs, kl_weight=self.parameters.kl_weight)

    def terms(self, scored: Scored) -> Terms:
        """Returns b times the negative log-likelihood of each sample; the divergence is the loop's."""
        return self._likelihood.terms(scored)

    @property
    def _likelihood(self) -> DaptObjective:
        return DaptObjective(nll_weight=self.parameters.nll_weight)
