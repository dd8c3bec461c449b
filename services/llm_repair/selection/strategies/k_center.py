"""K_CENTER: greedy farthest-first, which covers the pool with the smallest balls it can.

Source: Sener & Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018,
Algorithm 1; a 2-approximation of the least radius (Gonzalez 1985).

Stages: reduce as SAPS; start at one sample; again and again add the sample farthest from all chosen ones.

Constants of the release of arXiv 2510.20428: PCA to 50, start drawn with random state 42, always half of the pool.

We differ:
- Greedy only, as in the study and in practice; the mixed-integer refinement of the ICLR paper is left out.
- The start is the sample with the smallest seeded hash, so that the job's seed varies the method itself.
- Any budget; samples that add no cover (duplicates of chosen ones) follow by id.
- Squared distances are compared in float64, each computed from its pair alone, and equal ones go to the smaller id. So
  picks depend on nothing but the embeddings and the seed: not on threads, shards, or the kernel of a matrix product,
  whose rounding was seen to change the 295th pick of 1,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_repair.core.allocation import IntArray
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import KCenterStrategy
from llm_repair.selection.cover import Cover, Farthest
from llm_repair.selection.features import Features, FloatArray
from llm_repair.selection.shards import ONE_SHARD, Shards
from llm_repair.selection.strategies.saps import reduce
from llm_repair.selection.strategies.strategy import Ranking
from llm_repair.selection.threads import one_blas_thread


@dataclass(frozen=True)
class KCenterSelection:
    """K_CENTER with its parameters."""

    parameters: KCenterStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the best `places` rows; O(places n d) at worst, far less where rows lie unevenly."""
        points = reduce(features.required_embeddings(), self.parameters.pca_components, features.shards)
        start = int(order_by_hash(features.ids, seed, "k-center")[0])
        return Ranking(farthest_first(points, start, places, features.shards), points=points)


def farthest_first(points: FloatArray, start: int, places: int, shards: Shards = ONE_SHARD) -> IntArray:
    """Returns `places` rows, each the farthest from those before it; ties go to the smaller row.

    Every shard covers its rows and names its farthest one; the farthest of these is picked, and all shards are told.
    """
    picked = np.empty(places, dtype=np.int64)
    picked[0] = start
    with one_blas_thread():
        covers = shards.map(lambda rows: Cover(points, rows, start, places), len(points))
        for place in range(1, places):
            farthest = _farthest(covers, shards)
            if farthest.squared_distance <= 0:
                return _filled_by_id(picked, place, len(points))
            picked[place] = farthest.row
            for cover in covers:
                cover.choose(farthest.row)
    return picked


def _farthest(covers: list[Cover], shards: Shards) -> Farthest:
    parts = shards.map(lambda span: [covers[number].farthest() for number in span], len(covers))
    found = [farthest for part in parts for farthest in part]
    return max(found, key=lambda farthest: (farthest.squared_distance, -farthest.row))


def _filled_by_id(picked: IntArray, count: int, rows: int) -> IntArray:
    """Fills up with the smallest rows left: all of them lie on chosen ones."""
    left = np.setdiff1d(np.arange(rows, dtype=np.int64), picked[:count], assume_unique=True)
    picked[count:] = left[: len(picked) - count]
    return picked
