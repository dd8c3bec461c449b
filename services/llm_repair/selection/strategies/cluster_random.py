"""CLUSTER_RANDOM: random within clusters with proportional quotas, SAPS without its ranking.

Source: the stratified control in the replication package of arXiv 2510.20428, RitaLi1005/SAPS at d2b37d8.

Stages: reduce and cluster as SAPS; shuffle within clusters; allocate in proportion.

We differ:
- Quotas by Webster's method; the release takes max(1, floor(k |C_j| / N)), which does not add up to k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
        points = reduce(features.required_embeddings(), self.parameters.pca_components)
        clusters = cluster(points, self.parameters.clusters, seed)
        shuffled = np.array(order_by_hash(features.ids, seed, "cluster-random"), dtype=np.int64)
        members = [shuffled[clusters.labels[shuffled] == number] for number in range(len(clusters.centroids))]
        return Ranking(allocate(members, Allocation.PROPORTIONAL), clusters, points)
