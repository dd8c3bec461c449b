"""CLUSTER_RANDOM: random within clusters with proportional quotas, SAPS without its ranking.

Source: the stratified control in the replication package of arXiv 2510.20428, RitaLi1005/SAPS at d2b37d8.

Stages: reduce and cluster as SAPS; shuffle within clusters; allocate in proportion.

Constants of the release: PCA to 50, K = min(10, N), k_j = max(1, floor(k |C_j| / N)).

We differ:
- Quotas by Webster's method, since the release's do not add up to k.
- Chance within clusters is a seeded hash of the id; and as SAPS does in reducing and clustering.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_repair.core.allocation import stable_order
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import Allocation, ClusterRandomStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.saps import allocate, cluster, reduce
from llm_repair.selection.strategies.strategy import Ranking


@dataclass(frozen=True)
class ClusterRandomSelection:
    """CLUSTER_RANDOM with its parameters."""

    parameters: ClusterRandomStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the whole pool: reduce, cluster, shuffle within clusters, allocate."""
        points = reduce(features.required_embeddings(), self.parameters.pca_components, features.shards)
        clusters = cluster(points, self.parameters.clusters, seed, features.shards)
        shuffled = order_by_hash(features.ids, seed, "cluster-random")
        by_cluster = shuffled[stable_order(clusters.labels[shuffled], len(clusters.centroids))]
        members = np.split(by_cluster, np.cumsum(clusters.sizes())[:-1])
        return Ranking(allocate(members, Allocation.PROPORTIONAL), clusters, points)
