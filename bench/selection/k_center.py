# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn, apricot and submodlib are untyped.
"""`selection.k_center`: exact farthest-first without reduction, against what one would take instead.

That is a loop that asks scikit-learn for the distances to each pick, or for all distances at once; and, with another
objective (the sum of similarities to the nearest pick, not the largest distance), facility location by apricot and by
submodlib, which wants 20 GB for 20,000 rows and so takes part with 5,000.

The limit is to read the matrix once a pick, on one thread as ours. A loop cannot pass it; ours does, since it reads
about one row in a hundred. `value_agrees`: the radius that covers the pool is not larger than any contender's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import AS_GOOD, SEED, Contender, Points, Size, absent, make_features, present
from llm_repair.core.allocation import IntArray
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import KCenterStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.k_center import KCenterSelection

QUICK = (Size(1_000, 100, 1),)
FULL = (Size(5_000, 250, 5), Size(20_000, 1_000, 3), Size(200_000, 1_000, 3))
"""In, at the edge of, and out of a last-level cache of 32 MB."""
_AT_ONCE = "scikit-learn distances at once"
_APRICOT = "apricot facility location, other objective"
_SUBMODLIB = "submodlib facility location, other obj."
_SWEEP = "reading the matrix per pick (limit)"


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        yield from _side_by_side(make_features(size.n), size)


def _side_by_side(features: Features, size: Size) -> Iterator[Line]:
    points: Points = features.required_embeddings().astype(np.float32)
    contenders = _contenders(features, points, size)
    timings = interleaved(present(contenders, size.n), rounds=size.rounds)
    radii = {name: _radius(points, rows) for name, rows in timings.values.items() if len(rows)}
    agrees = {"ours": radii["ours"] <= AS_GOOD * min(radii.values())}
    yield from lines_of(
        timings,
        "selection.k_center",
        str(size),
        agrees=agrees,
        limit=_SWEEP,
        other_work=(_AT_ONCE, _APRICOT, _SUBMODLIB),
    )
    yield from absent(contenders, "selection.k_center", size.n)


def _contenders(features: Features, points: Points, size: Size) -> list[Contender[IntArray]]:
    start = int(order_by_hash(features.ids, SEED, "k-center")[0])
    strategy = KCenterSelection(KCenterStrategy(pca_components=0))
    same = torch.from_numpy(points)

    def sweep() -> IntArray:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for _ in range(size.picks):
            same.sum()
        torch.set_num_threads(threads)
        return np.empty(0, dtype=np.int64)

    return [
        Contender("ours", lambda: strategy.rank(features, seed=SEED, places=size.picks).rows),
        Contender(
            "scikit-learn distances per pick",
            lambda: _by_distances_per_pick(points, start, size.picks),
            needs=("sklearn",),
            rows=range(20_001),
        ),
        Contender(
            _AT_ONCE,
            lambda: _by_all_distances(points, start, size.picks),
            needs=("sklearn",),
            rows=range(20_001),
        ),
        Contender(
            _APRICOT,
            lambda: _by_apricot(points, size.picks),
            needs=("apricot",),
            rows=range(20_001),
        ),
        Contender(
            _SUBMODLIB,
            lambda: _by_submodlib(points, size.picks),
            needs=("submodlib",),
            rows=range(5_001),
        ),
        Contender(_SWEEP, sweep),
    ]


def _by_distances_per_pick(points: Points, start: int, picks: int) -> IntArray:
    from sklearn.metrics import pairwise_distances

    return _farthest_first(lambda row: pairwise_distances(points, points[row : row + 1]).ravel(), start, picks)


def _by_all_distances(points: Points, start: int, picks: int) -> IntArray:
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(points)
    return _farthest_first(lambda row: distances[row], start, picks)


def _farthest_first(distances_to: Callable[[int], npt.NDArray[np.floating[Any]]], start: int, picks: int) -> IntArray:
    rows = [start]
    nearest = distances_to(start)
    while len(rows) < picks:
        rows.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances_to(rows[-1]))
    return np.array(rows)


def _by_apricot(points: Points, picks: int) -> IntArray:
    from apricot import FacilityLocationSelection

    return np.array(FacilityLocationSelection(picks, metric="euclidean", optimizer="lazy").fit(points).ranking)


def _by_submodlib(points: Points, picks: int) -> IntArray:
    from submodlib import FacilityLocationFunction

    objective = FacilityLocationFunction(n=len(points), data=points, mode="dense", metric="euclidean")
    return np.array([row for row, _ in objective.maximize(picks, optimizer="LazyGreedy", show_progress=False)])


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
