"""EL2N: the samples whose predictions are farthest off, GraNd's cheap relative that needs no gradient.

Source: Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet: Finding Important Examples Early in Training, NeurIPS
2021, Definition 2.2: E ||p(w, x) - y||_2 with y as a one-hot vector; keep the largest.

Stage: order by the score, which the step `score` has computed for every sample.

Constants of the release of arXiv 2510.20428: none, it has no EL2N.

We differ:
- The paper's sample is an image with one label; ours is a continuation, whose score is the mean over its tokens.
- One model, the one to be repaired, in place of ten short training runs.
- Ties by id.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.selection import El2nStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.strategy import Ranking, hardest_first


@dataclass(frozen=True)
class El2nSelection:
    """EL2N; has no parameters."""

    parameters: El2nStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the pool by error norm; O(n log n)."""
        return Ranking(hardest_first(features.required_hardness()))
