"""SAPS: semantic-aware prioritised sampling, which takes the boundary of every semantic cluster.

Source: Li & Wang, An Empirical Study of Sample Selection Strategies for LLM Repair, arXiv 2510.20428 (2025), and its
replication package, RitaLi1005/SAPS at d2b37d8.

Stages, in the order of the paper, after the pool has been embedded (step `embed`):
1. reduce:   v^ = PCA(v), to 50 components.
2. cluster:  k-means with K = 10 in the reduced space, centroids u_j.
3. rank:     within cluster j by ||v^ - u_j||, farthest first; a `boundary_fraction` below 1 mixes in the nearest (RQ4).
4. allocate: seats of the budget to clusters, each filled with the cluster's next sample.

Constants of the release: all-MiniLM-L6-v2 (d = 384, unit length), PCA to 50 without scaling, MiniBatchKMeans with
K = min(10, N), batch 1000, random state 42; quota floor(N p / 10) from each cluster; RQ4 shares 0, 0.25, 0.5, 0.75, 1.

We differ:
- Lloyd's k-means (faiss) with split and merge in place of mini-batches; the job's seed in place of 42.
- PCA is exact, by eigenvectors of the covariance, and needs no random state; it is capped by N and d, where the release
  fails below 50 samples.
- PROPORTIONAL quotas by Webster's method are the default, which is how the paper's figure reads. EQUAL is the
  release's quota, but what a small cluster cannot give is taken from the others: the release delivers less than asked.
- A quota that K does not divide gives the remainder to the first clusters, one each; the release drops it.
- Far and near samples alternate at the given share and never repeat; the release duplicates where both ends of a
  small cluster meet. At every quota q the number of far samples is floor(q * boundary_fraction), as released.
- Output is in rank order, clusters interleaved, so that every prefix is the selection of a smaller budget; the release
  lists cluster after cluster.
- Embeds a chosen text view, not the raw JSON line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray, equal_seats, interleave, webster_seats
from llm_repair.core.hashing import derived_seed
from llm_repair.core.selection import Allocation, SapsStrategy
from llm_repair.selection.clustering import Clusters, k_means, rule_of_thumb
from llm_repair.selection.features import Features, FloatArray
from llm_repair.selection.principal_components import project
from llm_repair.selection.shards import ONE_SHARD, Shards
from llm_repair.selection.strategies.strategy import Ranking


@dataclass(frozen=True)
class SapsSelection:
    """SAPS with its parameters."""

    parameters: SapsStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the whole pool: reduce, cluster, rank within clusters, allocate."""
        points = reduce(features.required_embeddings(), self.parameters.pca_components, features.shards)
        clusters = cluster(points, self.parameters.clusters, seed, features.shards)
        members = rank_within(clusters, self.parameters.boundary_fraction)
        return Ranking(allocate(members, self.parameters.allocation), clusters, points)


def reduce(embeddings: FloatArray, components: int, shards: Shards = ONE_SHARD) -> npt.NDArray[np.float32]:
    """Stage 1: returns the points v^, (n, components); 0 components keep the embeddings as they are, memory-mapped."""
    if components == 0:
        return np.ascontiguousarray(embeddings, dtype=np.float32)
    return project(embeddings, components, shards)


def cluster(points: npt.NDArray[np.float32], clusters: int, seed: int, shards: Shards = ONE_SHARD) -> Clusters:
    """Stage 2: returns the semantic clusters of the points; 0 clusters stand for the rule of thumb."""
    return k_means(points, clusters or rule_of_thumb(len(points)), seed=derived_seed(seed, "k-means"), shards=shards)


def rank_within(clusters: Clusters, boundary_fraction: float) -> list[IntArray]:
    """Stage 3: returns the rows of each cluster in the order in which they are taken; ties by id."""
    # Rows ascend by id and the sort is stable, so the smaller id comes first among equals.
    farthest_first = np.lexsort((-clusters.distances, clusters.labels))
    members = np.split(farthest_first, np.cumsum(clusters.sizes())[:-1])
    return [_far_and_near(rows, boundary_fraction) for rows in members]


def allocate(members: list[IntArray], allocation: Allocation) -> IntArray:
    """Stage 4: returns all rows in rank order, one seat after the other."""
    sizes = [len(rows) for rows in members]
    seats = equal_seats(sizes) if allocation is Allocation.EQUAL else webster_seats(sizes)
    return interleave(seats, members)


def _far_and_near(farthest_first: IntArray, boundary_fraction: float) -> IntArray:
    """Mixes both ends so that among the first q there are floor(q * boundary_fraction) from the far end."""
    quotas = np.arange(len(farthest_first) + 1)
    # The small addend undoes binary rounding: 0.29 * 100 is below 29.
    far_taken = np.floor(quotas * boundary_fraction + 1e-9).astype(np.int64)
    takes_far = np.diff(far_taken) == 1
    far_places = far_taken[:-1]
    near_places = len(farthest_first) - 1 - (quotas[:-1] - far_taken[:-1])
    return farthest_first[np.where(takes_far, far_places, near_places)]
