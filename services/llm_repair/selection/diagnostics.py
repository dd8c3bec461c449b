"""Diagnostics: what a selection looks like, for the report's map and table. Ids only, never texts."""

from __future__ import annotations

import numpy as np

from llm_repair.core.allocation import IntArray
from llm_repair.core.execution import Json
from llm_repair.core.hashing import order_by_hash
from llm_repair.selection.clustering import Clusters
from llm_repair.selection.strategies import Ranking

HISTOGRAM_BINS = 20
MAP_POINTS = 20_000
"""A map of a larger pool shows all that were selected, up to this, and fills up with a random rest."""
_DIGITS = 4


def cluster_counts(ids: list[str], clusters: Clusters, picked: IntArray) -> Json:
    """Returns, for each cluster, its size, how many were selected, its radius and its exemplar.

    The exemplar is the sample nearest to the centroid, the smallest id among equals.
    """
    selected = np.bincount(clusters.labels[picked], minlength=len(clusters.centroids))
    rows: list[Json] = []
    for number, total in enumerate(clusters.sizes()):
        members = np.flatnonzero(clusters.labels == number)
        distances = clusters.distances[members]
        rows.append(
            {
                "cluster": number,
                "total": total,
                "selected": int(selected[number]),
                "radius": round(float(distances.max()), _DIGITS),
                "exemplar": ids[int(members[distances.argmin()])],
            }
        )
    return rows


def distance_histogram(clusters: Clusters, picked: IntArray) -> Json:
    """Returns how far from their centroids the pool and the selected samples lie, in equal-width bins from 0."""
    # A pool of one point has all distances 0; the bins still need a width.
    edges = np.linspace(0, float(clusters.distances.max()) or 1.0, HISTOGRAM_BINS + 1)
    pool, _ = np.histogram(clusters.distances, edges)
    selected, _ = np.histogram(clusters.distances[picked], edges)
    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "pool": [int(count) for count in pool],
        "selected": [int(count) for count in selected],
    }


def selection_map(ids: list[str], ranking: Ranking, delivered: int) -> Json:
    """Returns the points in the plane of the first two principal components, as parallel lists, ascending by id.

    `rank` is the place in the selection, from 0, or null; `cluster` is null where the strategy does not cluster.
    """
    assert ranking.points is not None, "a map needs points"
    shown = _shown(ids, ranking.rows[:delivered])
    plane = np.zeros((len(shown), 2), dtype=np.float64)
    plane[:, : min(2, ranking.points.shape[1])] = ranking.points[shown, :2]
    rank: dict[int, int] = {int(row): place for place, row in enumerate(ranking.rows[:delivered])}
    clusters = ranking.clusters
    return {
        "pool": len(ids),
        "shown": len(shown),
        "ids": [ids[int(row)] for row in shown],
        "x": [round(float(x), _DIGITS) for x in plane[:, 0]],
        "y": [round(float(y), _DIGITS) for y in plane[:, 1]],
        "cluster": [None if clusters is None else int(clusters.labels[row]) for row in shown],
        "rank": [rank.get(int(row)) for row in shown],
    }


def _shown(ids: list[str], picked: IntArray) -> IntArray:
    if len(ids) <= MAP_POINTS:
        return np.arange(len(ids), dtype=np.int64)
    kept = picked[:MAP_POINTS]
    chosen = set(kept.tolist())
    rest = [row for row in order_by_hash(ids, 0, "map") if row not in chosen][: MAP_POINTS - len(kept)]
    return np.sort(np.concatenate([kept, np.array(rest, dtype=np.int64)]))
