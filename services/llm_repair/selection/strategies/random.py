"""RANDOM: uniform sampling without replacement, the baseline every other strategy has to beat.

Source: the control of arXiv 2510.20428 §3; its generator is not in the release.

Stage: order the ids by a seeded hash and take the smallest.

Constants of the release: data seeds 43, 44, 46, 48 and 101.

We differ:
- Chance comes from a hash of seed and id instead of a generator's stream, so that the choice does not depend on the
  order of the pool, and adding a row to the pool moves no other row past its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import RandomStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.strategy import Ranking


@dataclass(frozen=True)
class RandomSelection:
    """RANDOM; has no parameters."""

    parameters: RandomStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the pool by seeded hash of the id; O(n)."""
        return Ranking(order_by_hash(features.ids, seed, "random"))
