"""IREPAIR: DAPT that updates one transformer block a step, the one behind the toxic continuation (arXiv 2510.20428).

loss = b NLL(y+|x) on the block whose gradient of NLL(y-|x) is largest (`sr` with γ = 0; paper.md §3). Needs pairs;
which block a step updated is in the training curve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm_repair.core.repair import IrepairMethod
from llm_repair.models.training.dapt import DaptObjective
from llm_repair.models.training.objectives import Needs, Scored, Terms


@dataclass(frozen=True)
class IrepairObjective:
    """The objective of IREPAIR."""

    parameters: IrepairMethod

    @property
    def needs(self) -> Needs:
        """Those of DAPT, on one block."""
        return replace(self._likelihood.needs, one_block=True)

    def terms(self, scored: Scored) -> Terms:
        """Returns b times the negative log-likelihood of each chosen continuation."""
        return self._likelihood.terms(scored)

    @property
    def _likelihood(self) -> DaptObjective:
        return DaptObjective(nll_weight=self.parameters.nll_weight)
