"""Diagnostics: what a selection looks like, for the report's map and table. Ids only, never texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from llm_repair.core.allocation import IntArray, stable_order
from llm_repair.core.execution import Json
from llm_repair.core.hashing import order_by_hash
from llm_repair.selection.clustering import Clusters
from llm_repair.selection.strategies import Filtered, Ranking, Strata

HISTOGRAM_BINS = 20
MAP_POINTS = 20_000
"""A map of a larger pool shows all that were selected, up to this, and fills up with a random rest."""
_DIGITS = 4


def filter_counts(name: str, filtered: Filtered) -> dict[str, Json]:
    """Returns how many samples a filter kept of those that came to it, and how many it dropped on which side."""
    return {
        "filter": name,
        "kept": int(filtered.kept.sum()),
        "dropped_too_low": int(filtered.too_low.sum()),
        "dropped_too_high": int(filtered.too_high.sum()),
    }


def stratum_counts(strata: Strata, picked: IntArray) -> Json:
    """Returns, for each stratum that is not empty, its bounds, its size and how many were selected.

    A bound is null where the stratum is open, and the pruned samples are not part of any.
    """
    count = len(strata.edges) + 1
    totals = np.bincount(strata.labels, minlength=count + 1)
    selected = np.bincount(strata.labels[picked], minlength=count + 1)
    bounds = [-math.inf, *strata.edges.tolist(), math.inf]
    return [
        {
            "stratum": number,
            "low": _finite(bounds[number]),
            "high": _finite(bounds[number + 1]),
            "total": int(totals[number]),
            "selected": int(selected[number]),
        }
        for number in np.flatnonzero(totals[:count]).tolist()
    ]


def pruned_counts(strata: Strata, picked: IntArray) -> dict[str, Json]:
    """Returns how many samples were pruned as the hardest, and how many of them the budget still needed."""
    pruned = strata.labels == len(strata.edges) + 1
    return {"pruned": int(pruned.sum()), "readmitted": int(pruned[picked].sum())}


def cluster_counts(ids: Sequence[str], clusters: Clusters, picked: IntArray) -> Json:
    """Returns, for each cluster, its size, how many were selected, its radius and its exemplar.

    The exemplar is the sample nearest to the centroid, the smallest id among equals.
    """
    sizes = np.array(clusters.sizes(), dtype=np.int64)
    selected = np.bincount(clusters.labels[picked], minlength=len(sizes))
    nearest_first = np.argsort(clusters.distances, kind="stable")
    by_cluster = nearest_first[stable_order(clusters.labels[nearest_first], len(sizes))]
    last = np.cumsum(sizes, dtype=np.int64) - 1
    exemplars = by_cluster[last - sizes + 1].tolist()
    radii = clusters.distances[by_cluster[last]].tolist()
    return [
        {
            "cluster": number,
            "total": int(sizes[number]),
            "selected": int(selected[number]),
            "radius": round(radii[number], _DIGITS),
            "exemplar": ids[exemplars[number]],
        }
        for number in range(len(sizes))
    ]


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


def selection_map(ids: Sequence[str], ranking: Ranking, delivered: int) -> Json:
    """Returns the points in the plane of the first two principal components, as parallel lists, ascending by id.

    `rank` is the place in the selection, from 0, or null; `cluster` is null where the strategy does not cluster.
    """
    assert ranking.points is not None, "a map needs points"
    shown = _shown(ids, ranking.rows[:delivered])
    plane = np.zeros((len(shown), 2), dtype=np.float64)
    plane[:, : min(2, ranking.points.shape[1])] = ranking.points[shown, :2]
    rank: dict[int, int] = {row: place for place, row in enumerate(ranking.rows[:delivered].tolist())}
    clusters = ranking.clusters
    return {
        "pool": len(ids),
        "shown": len(shown),
        "ids": [ids[row] for row in shown.tolist()],
        "x": [round(float(x), _DIGITS) for x in plane[:, 0]],
        "y": [round(float(y), _DIGITS) for y in plane[:, 1]],
        "cluster": [None if clusters is None else int(clusters.labels[row]) for row in shown],
        "rank": [rank.get(row) for row in shown.tolist()],
    }


def _shown(ids: Sequence[str], picked: IntArray) -> IntArray:
    if len(ids) <= MAP_POINTS:
        return np.arange(len(ids), dtype=np.int64)
    kept = picked[:MAP_POINTS]
    order = order_by_hash(ids, 0, "map")
    rest = order[~np.isin(order, kept)][: MAP_POINTS - len(kept)]
    return np.sort(np.concatenate([kept, rest]))


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
