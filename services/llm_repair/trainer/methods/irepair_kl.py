"""IREPAIR_KL: IREPAIR with the KL term of DAPT_KL (arXiv 2510.20428, `sr`; paper.md §3).

loss = b NLL(y+|x) + γ KL_u on the block most sensitive to NLL(y-|x). Needs pairs and utility texts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm_repair.core.repair import IrepairKlMethod
from llm_repair.models.training.dapt import DaptObjective
from llm_repair.models.training.objectives import Needs, Scored, Terms


@dataclass(frozen=True)
class IrepairKlObjective:
    """The objective of IREPAIR_KL."""

    parameters: IrepairKlMethod

    @property
    def needs(self) -> Needs:
        """Those of DAPT, on one block, and utility texts."""
        return replace(self._likelihood.needs, one_block=True, kl_weight=self.parameters.kl_weight)

    def terms(self, scored: Scored) -> Terms:
        """Returns b times the negative log-likelihood of each chosen continuation; the divergence is the loop's."""
        return self._likelihood.terms(scored)

    @property
    def _likelihood(self) -> DaptObjective:
        return DaptObjective(nll_weight=self.parameters.nll_weight)
