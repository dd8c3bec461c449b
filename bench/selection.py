# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn is untyped.
"""Selection strategies on embeddings of n x 384, as `Select` calls them, against what one would write without us.

- `selection.k_center`: exact farthest-first without reduction, against a loop that asks scikit-learn for the distances
  to every pick. The limit is to read the matrix once a pick with the same threads. `value_agrees`: the radius that
  covers the pool is not larger than the contender's.
- `selection.saps`: the whole ranking, against the study's released path in scikit-learn (PCA to 50, mini-batch
  k-means, sort by distance). The limit is the arithmetic that exact PCA and one assignment need, at this process's
  fp32 matrix product. `value_agrees`: the mean squared distance to the own centroid is not larger.
- `selection.random`: the ranking by seeded hashes of ids, against sorting random numbers, which depends on the order
  of the pool. The limit is to hash the ids once. `value_agrees`: every row occurs once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from llm_repair.core.allocation import IntArray
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.selection import KCenterStrategy, RandomStrategy, SapsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.k_center import KCenterSelection
from llm_repair.selection.strategies.random import RandomSelection
from llm_repair.selection.strategies.saps import SapsSelection, cluster, reduce

WIDTH = 384
"""Of all-MiniLM-L6-v2."""
SEED = 1
_AS_GOOD = 1.01
"""Two exact greedy runs part ways at near ties by rounding, and then their radii differ a little either way."""

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """A pool and a budget."""

    n: int
    picks: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.n} x {WIDTH}, {self.picks} picks"


QUICK = (Size(2_000, 50, 3),)
FULL = (Size(5_000, 250, 9), Size(20_000, 250, 7), Size(100_000, 250, 5))
"""In, at the edge of, and out of a last-level cache of 32 MB."""


def run(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all strategies at all sizes."""
    for size in QUICK if quick else FULL:
        features = Features([f"sample-{row:07d}" for row in range(size.n)], _embeddings(size.n))
        yield from _k_center(features, size)
        yield from _saps(features, size, limits)
        yield from _random(features, size)


def _embeddings(n: int) -> Points:
    """Returns unit vectors around 40 centres, as sentence embeddings lie."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((40, WIDTH), dtype=np.float32)
    points = centres[rng.integers(40, size=n)] + rng.standard_normal((n, WIDTH), dtype=np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _k_center(features: Features, size: Size) -> Iterator[Line]:
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
    agrees = {"ours": _radius(points, ours) <= _AS_GOOD * _radius(points, theirs)}
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


def _saps(features: Features, size: Size, limits: Limits) -> Iterator[Line]:
    points: Points = features.required_embeddings().astype(np.float32)
    parameters = SapsStrategy()
    strategy = SapsSelection(parameters)
    contenders: dict[str, Callable[[], IntArray]] = {
        "ours": lambda: strategy.rank(features, seed=SEED, places=size.picks).rows,
        "scikit-learn, as the study released": lambda: _saps_as_released(points)[0],
    }
    timings = interleaved(contenders, rounds=size.rounds)
    ours = cluster(reduce(points, parameters.pca_components), parameters.clusters, SEED).distances
    theirs = _saps_as_released(points)[1]
    components, k = parameters.pca_components, parameters.clusters
    # Half of the symmetric covariance, one projection, one assignment; 2 operations a multiply-add.
    operations = size.n * (WIDTH**2 + 2 * WIDTH * components + 2 * components * k)
    yield from lines_of(
        timings,
        "selection.saps",
        str(size),
        agrees={"ours": float(np.square(ours).mean()) <= _AS_GOOD * float(np.square(theirs).mean())},
        limit_s=operations / (1e9 * limits.sgemm_gflops),
    )


def _saps_as_released(points: Points) -> tuple[IntArray, Points]:
    """Returns the rows, cluster after cluster, farthest first, and every point's distance to its own centroid."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    reduced = PCA(n_components=50, random_state=42).fit_transform(points)
    model = MiniBatchKMeans(n_clusters=10, batch_size=1000, random_state=42, n_init="auto").fit(reduced)
    distances = np.linalg.norm(reduced - model.cluster_centers_[model.labels_], axis=1)
    return np.lexsort((-distances, model.labels_)), distances.astype(np.float32)


def _random(features: Features, size: Size) -> Iterator[Line]:
    strategy = RandomSelection(RandomStrategy())

    def hashing() -> IntArray:
        for name in features.ids:
            hashlib.sha256(name.encode()).digest()
        return np.empty(0, dtype=np.int64)

    contenders: dict[str, Callable[[], IntArray]] = {
        "ours": lambda: strategy.rank(features, seed=SEED, places=size.picks).rows,
        "argsort of random numbers": lambda: np.random.default_rng(SEED).random(size.n).argsort(),
        "hashing the ids (limit)": hashing,
    }
    timings = interleaved(contenders, rounds=size.rounds)
    complete = np.array_equal(np.sort(timings.values["ours"]), np.arange(size.n))
    yield from lines_of(
        timings,
        "selection.random",
        str(size),
        agrees={"ours": complete},
        limit="hashing the ids (limit)",
        other_work=("argsort of random numbers",),
    )


if __name__ == "__main__":
    area.main(__doc__, run)
