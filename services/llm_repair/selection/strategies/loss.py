"""LOSS: the samples that surprise the model most.

Source: a usual baseline, as in Paul, Ganguli & Dziugaite, NeurIPS 2021, and Jiang et al., Accelerating Deep Learning by
Focusing on the Biggest Losers, arXiv 1910.00762 (2019).

Stage: order by the loss at the given model, which the step `score` has computed for every sample; keep the largest.

Constants of the release of arXiv 2510.20428: none, it does not select by loss.

We differ:
- The loss is a mean over the learnt tokens, so that long continuations are not hard for their length alone.
- Ties by id.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.selection import LossStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.strategy import Ranking, hardest_first


@dataclass(frozen=True)
class LossSelection:
    """LOSS; has no parameters."""

    parameters: LossStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the pool by loss; O(n log n)."""
        return Ranking(hardest_first(features.required_hardness()))
