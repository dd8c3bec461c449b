# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn is untyped.
"""`selection.k_center`: exact farthest-first without reduction, against a loop that asks scikit-learn for distances.

The limit is to read the matrix once a pick with the same threads. `value_agrees`: the radius that covers the pool is
not larger than the contender's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import AS_GOOD, SEED, Points, Size, make_features
from llm_repair.core.allocation import IntArray
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import KCenterStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.k_center import KCenterSelection

QUICK = (Size(2_000, 50, 3),)
FULL = (Size(5_000, 250, 9), Size(20_000, 250, 7), Size(100_000, 250, 5))
"""In, at the edge of, and out of a last-level cache of 32 MB."""


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        yield from _side_by_side(make_features(size.n), size)


def _side_by_side(features: Features, size: Size) -> Iterator[Line]:
    points: Points = features.required_embeddings().astype(np.float32)
    start = order_by_hash(features.ids, SEED, "k-center")[0]
    strategy = KCenterSelection(KCenterStrategy(pca_components=0))
    same = torch.from_numpy(points)

    def sweep() -> IntArray:
        for _ in range(size.picks):
            same.sum()
        return np.empty(0, dtype=np.int64)

    contenders: dict[str, Callable[[], IntArray]] = {
        "ours": lambda: strategy.rank(features, seed=SEED, places=size.picks).rows,
        "scikit-learn distances per pick": lambda: _farthest_by_sklearn(points, start, size.picks),
        "reading the matrix per pick (limit)": sweep,
    }
    timings = interleaved(contenders, rounds=size.rounds)
    ours, theirs = list(timings.values.values())[:2]
    agrees = {"ours": _radius(points, ours) <= AS_GOOD * _radius(points, theirs)}
    yield from lines_of(
        timings, "selection.k_center", str(size), agrees=agrees, limit="reading the matrix per pick (limit)"
    )


def _farthest_by_sklearn(points: Points, start: int, picks: int) -> IntArray:
    from sklearn.metrics import pairwise_distances

    rows, row = [start], start
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    while len(rows) < picks:
        nearest = np.minimum(nearest, pairwise_distances(points, points[row : row + 1]).ravel())
        row = int(nearest.argmax())
        rows.append(row)
    return np.array(rows)


def _radius(points: Points, rows: IntArray) -> float:
    """Returns the largest distance of any point to its nearest chosen one."""
    nearest = np.full(len(points), np.inf)
    squares = np.einsum("nd,nd->n", points, points, dtype=np.float64)
    for start in range(0, len(rows), 64):
        chosen = rows[start : start + 64]
        distances = squares[:, None] - 2.0 * (points @ points[chosen].T) + squares[chosen]
        nearest = np.minimum(nearest, distances.min(axis=1))
    return float(np.sqrt(max(nearest.max(), 0.0)))


if __name__ == "__main__":
    area.main(__doc__, lines)
