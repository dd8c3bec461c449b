"""GRAND: the samples whose loss pulls hardest at the parameters.

Source: Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet: Finding Important Examples Early in Training, NeurIPS
2021, Definition 2.1: χ(x, y) = E_w ||∇_w loss(p(w, x), y)||_2; keep the largest.

Stage: order by χ, which the step `score` has computed for every sample (`models/gradients`).

Constants of the release of arXiv 2510.20428: GPT-Neo 1.3B, half of the pool, gold text after the prompt, mean over the
continuation's tokens.

We differ:
- One model, the one to be repaired, as in the release: a pretrained model has no ten initialisations to average over.
  Kirsch (2023) could not reproduce that GraNd works at a random initialisation; a pretrained model is not one.
- The norm is that of the whole gradient, as in the paper; the release adds up the norms of the tensors.
- The loss is that of the repair method, on the texts it learns from; the release takes a text that no repair method
  learns. Of IREPAIR it is taken over all blocks, not over the one that a step will update.
- Any budget; ties by id; a sample that cannot be scored fails the step, where the release skips it.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.selection import GrandStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.strategy import Ranking, hardest_first


@dataclass(frozen=True)
class GrandSelection:
    """GRAND; has no parameters."""

    parameters: GrandStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the pool by gradient norm; O(n log n)."""
        return Ranking(hardest_first(features.required_hardness()))
