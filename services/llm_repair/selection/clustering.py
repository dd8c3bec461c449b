"""Clustering: k-means over a whole pool, its labels made independent of how clusters happened to be numbered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray
from llm_repair.selection.atoms import atoms_of, rows_of
from llm_repair.selection.faiss_kmeans import lloyd
from llm_repair.selection.features import FloatArray
from llm_repair.selection.shards import ONE_SHARD, Shards
from llm_repair.selection.split_merge import centroids_of
from llm_repair.selection.threads import one_blas_thread

SEARCH_POINTS = 2_048
SEARCH_POINTS_PER_CLUSTER = 128
"""The larger of the two is the sample on which split and merge find the clusters."""
TRAINING_POINTS = 16_384
TRAINING_POINTS_PER_CLUSTER = 256
"""The larger of the two is the sample that trains the centroids in the end; every point is assigned."""
_PRODUCTS_AT_ONCE = 2**22
"""32 MB of float64."""
_SAFE_EXPONENT = 30
"""Points with a largest coordinate outside 2**-30 to 2**30 are scaled, so that float32 holds sums of their squares."""


@dataclass(frozen=True)
class Clusters:
    """A partition of the points. Cluster 0 is the largest; equal sizes are ordered by their smallest row."""

    labels: IntArray
    """(n,), [0, k)."""
    centroids: npt.NDArray[np.float64]
    """(k, components)."""
    distances: npt.NDArray[np.float32]
    """(n,), Euclidean, to the centroid of the own cluster."""

    def sizes(self) -> list[int]:
        """Returns the number of points of each cluster, descending, none of them 0."""
        return [int(size) for size in np.bincount(self.labels, minlength=len(self.centroids))]


def rule_of_thumb(points: int) -> int:
    """Returns k = sqrt(n / 2), rounded, at least 1 (Mardia, Kent & Bibby, Multivariate Analysis, 1979)."""
    return max(1, round(math.sqrt(points / 2)))


def k_means(points: FloatArray, clusters: int, *, seed: int, shards: Shards = ONE_SHARD) -> Clusters:
    """Partitions the points into at most `clusters` clusters by k-means; O(n k components).

    Args:
      points: (n, components), float32, n at least 1; read by atoms, so they may be memory-mapped.
      clusters: k, at least 1; capped by the number of distinct points. Empty clusters are dropped.
      seed: [0, 2**31).
      shards: Any number of them gives the same bits.
    """
    with one_blas_thread():
        centroids = _centroids(points, _distinct_up_to(points, clusters), seed)
        parts = shards.map(
            lambda span: [_assigned(points[rows_of(atom)], centroids) for atom in span], atoms_of(len(points))
        )
    assigned = [block for part in parts for block in part]
    labels, distances = (np.concatenate(column) for column in zip(*assigned, strict=True))
    return _renumbered(labels, centroids, distances)


def _centroids(points: FloatArray, clusters: int, seed: int) -> npt.NDArray[np.float64]:
    if clusters == 1:
        return points.mean(axis=0, dtype=np.float64)[None, :]
    training = _sample(points, max(TRAINING_POINTS, TRAINING_POINTS_PER_CLUSTER * clusters), seed)
    exponent = math.frexp(float(np.abs(training).max()))[1]
    scaled = training if abs(exponent) <= _SAFE_EXPONENT else np.ldexp(training, -exponent)
    search = _sample(scaled, max(SEARCH_POINTS, SEARCH_POINTS_PER_CLUSTER * clusters), seed)
    found = centroids_of(search, clusters, seed)
    if len(search) < len(scaled):
        found = lloyd(scaled, found.vectors, seed)
    return np.ldexp(found.vectors.astype(np.float64), 0 if scaled is training else exponent)


def _sample(points: FloatArray, count: int, seed: int) -> npt.NDArray[np.float32]:
    if count < len(points):
        points = points[np.sort(np.random.default_rng(seed).choice(len(points), count, replace=False))]
    return np.ascontiguousarray(points, dtype=np.float32)


def _assigned(block: FloatArray, centroids: npt.NDArray[np.float64]) -> tuple[IntArray, npt.NDArray[np.float32]]:
    """Returns the nearest centroid of each point, ties to the smaller index, and the distance to it."""
    wide = block.astype(np.float64)
    step = max(1, _PRODUCTS_AT_ONCE // len(centroids))
    labels = np.concatenate([_nearest(wide[start : start + step], centroids) for start in range(0, len(wide), step)])
    wide -= centroids[labels]
    return labels, np.sqrt(np.vecdot(wide, wide)).astype(np.float32)


def _nearest(points: npt.NDArray[np.float64], centroids: npt.NDArray[np.float64]) -> IntArray:
    # One product a point: in a product of matrices the last bits depend on the place of a point, and equal ones must
    # stay together.
    products = np.matmul(centroids, points[:, :, None])[:, :, 0]
    # ||x - c||^2 without ||x||^2, which is the same for every c.
    return (np.vecdot(centroids, centroids) - 2 * products).argmin(axis=1)


def _distinct_up_to(points: FloatArray, most: int) -> int:
    seen: set[bytes] = set()
    for atom in range(atoms_of(len(points))):
        for point in points[rows_of(atom)] + np.float32(0):  # adding 0 turns -0 into 0, which has other bytes
            seen.add(point.tobytes())
            if len(seen) == most:
                return most
    return len(seen)


def _renumbered(labels: IntArray, centroids: npt.NDArray[np.float64], distances: npt.NDArray[np.float32]) -> Clusters:
    used, first_rows, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = used[np.lexsort((first_rows, -sizes))]
    number = np.empty(len(centroids), dtype=np.int64)
    number[order] = np.arange(len(order))
    return Clusters(number[labels], centroids[order], distances)
