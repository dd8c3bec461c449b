"""K_CENTER: greedy farthest-first, which covers the pool with the smallest balls it can.

Source: Sener & Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018,
Algorithm 1; a 2-approximation of the least radius (Gonzalez 1985).

Stages: reduce as SAPS; start at one sample; again and again add the sample farthest from all chosen ones.

Constants of the release of arXiv 2510.20428: PCA to 50, start drawn with random state 42, always half of the pool.

We differ:
- Greedy only, as in the study and in practice; the mixed-integer refinement of the ICLR paper is left out.
- The start is the sample with the smallest seeded hash, so that the job's seed varies the method itself.
- Any budget; samples that add no cover (duplicates of chosen ones) follow by id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import KCenterStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.saps import reduce
from llm_repair.selection.strategies.strategy import Ranking

_ROUNDING = 1e-6
"""Squared distances below this share of the largest squared norm are rounding of zero in float32."""


@dataclass(frozen=True)
class KCenterSelection:
    """K_CENTER with its parameters."""

    parameters: KCenterStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the best `places` rows; O(places n d)."""
        points = reduce(features.required_embeddings(), self.parameters.pca_components)
        start = order_by_hash(features.ids, seed, "k-center")[0]
        return Ranking(farthest_first(points, start, places), points=points)


def farthest_first(points: npt.NDArray[np.float32], start: int, places: int) -> IntArray:
    """Returns `places` rows, each the farthest from those before it; ties go to the smaller row.

    One matrix-vector product a pick, by ||x||^2 - 2 x.c + ||c||^2.
    """
    squares = np.einsum("nd,nd->n", points, points)
    noise = np.float32(_ROUNDING) * squares.max()
    uncovered = np.full(len(points), np.inf, dtype=np.float32)
    rows = np.empty(places, dtype=np.int64)
    row = start
    for place in range(places):
        rows[place] = row
        np.minimum(uncovered, squares - 2 * (points @ points[row]) + squares[row], out=uncovered)
        uncovered[(uncovered > -np.inf) & (uncovered <= noise)] = 0
        uncovered[row] = -np.inf
        row = int(uncovered.argmax())
    return rows
