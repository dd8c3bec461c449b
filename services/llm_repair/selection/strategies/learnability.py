"""LEARNABILITY: drops prompts that the model never or always fails on, which have little to teach it.

Source: Foster, Sims, Forkel, Fellows & Foerster, Learning to Reason at the Frontier of Learnability, arXiv 2502.12272
(2025), where a prompt with success rate p teaches in proportion to p (1 - p); and dynamic sampling in Yu et al., DAPO,
arXiv 2503.14476 (2025), which drops prompts with p = 0 or 1.

Stage: the share of the model's own samples on a prompt that the judge calls failing, which the step `judge_pool` has
computed; keep prompts whose share is in [low, high].

Constants of DAPO: everything strictly between 0 and 1 is kept, of 16 samples a prompt. Ours: [0.05, 0.95] of 8, which
is the same set, since 1 of 8 is 0.125.

We differ:
- Filters once, before the repair, by the model that is to be repaired; the papers filter again and again in training.
- The share is of toxic samples by a judge, not of correct answers.
- What is left is ranked by any strategy, RANDOM unless another is given.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.selection import LearnabilityStrategy
from llm_repair.selection.features import FloatArray
from llm_repair.selection.strategies.strategy import Filtered, within


@dataclass(frozen=True)
class LearnabilityFilter:
    """LEARNABILITY with its parameters."""

    parameters: LearnabilityStrategy

    def keep(self, scores: FloatArray) -> Filtered:
        """Keeps the samples whose prompt's failure rate is in [low, high]."""
        return within(scores, low=self.parameters.low, high=self.parameters.high)
