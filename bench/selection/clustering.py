# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn, umap-learn and hdbscan are untyped.
"""`selection.clustering`: PCA to 50 and k-means as SAPS does it, against UMAP to 5 and HDBSCAN, the usual path.

And against scikit-learn's HDBSCAN after its PCA. The pool has 20 planted clusters of uneven shares, with noise twice as
long as their centres. Ours is told that there are 20; HDBSCAN finds out, and calls some rows noise. UMAP is seeded, so
it runs on one thread; it is compiled in the round that is not counted, for half a minute, and so left out of quick
runs. The limit is that of `selection.saps`. `value_agrees`: the adjusted Rand index with the planted clusters is at
most 0.02 below that of any contender.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import SEED, WIDTH, Contender, Points, absent, make_planted, present
from llm_repair.core.allocation import IntArray
from llm_repair.selection.strategies.saps import cluster, reduce

QUICK, FULL = ((1_000, 2),), ((5_000, 5),)
"""Rows, and rounds."""
CLUSTERS = 20
NOISE = 2.0
COMPONENTS = 50
NOT_WORSE = 0.02
_LEAST_CLUSTER = 15
"""HDBSCAN's only parameter of weight: smaller groups are noise."""


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for n, rounds in QUICK if quick else FULL:
        yield from _side_by_side(n, rounds, limits)


def _side_by_side(n: int, rounds: int, limits: Limits) -> Iterator[Line]:
    points, planted = make_planted(n, CLUSTERS, NOISE)
    contenders = _contenders(points)
    timings = interleaved(present(contenders, n), rounds=rounds)
    indices = {name: _adjusted_rand_index(planted, labels) for name, labels in timings.values.items()}
    operations = n * (WIDTH**2 + 2 * WIDTH * COMPONENTS + 2 * COMPONENTS * CLUSTERS)
    yield from lines_of(
        timings,
        "selection.clustering",
        f"{n} x {WIDTH}, {CLUSTERS} clusters",
        agrees={"ours": indices["ours"] >= max(indices.values()) - NOT_WORSE},
        limit_s=operations / (1e9 * limits.sgemm_gflops),
    )
    yield from absent(contenders, "selection.clustering", n)


def _contenders(points: Points) -> list[Contender[IntArray]]:
    return [
        Contender("ours", lambda: cluster(reduce(points, COMPONENTS), CLUSTERS, SEED).labels),
        Contender("scikit-learn PCA + HDBSCAN", lambda: _by_sklearn(points), needs=("sklearn",)),
        Contender("UMAP + HDBSCAN", lambda: _by_umap(points), needs=("umap", "hdbscan"), rows=range(2_000, 100_000)),
    ]


def _by_sklearn(points: Points) -> IntArray:
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    reduced = PCA(COMPONENTS, random_state=SEED).fit_transform(points)
    return HDBSCAN(min_cluster_size=_LEAST_CLUSTER, copy=True).fit_predict(reduced)


def _by_umap(points: Points) -> IntArray:
    import hdbscan
    import umap

    # As BERTopic sets it up.
    reducer = umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric="cosine", random_state=SEED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_jobs value", UserWarning)
        reduced = reducer.fit_transform(points)
    return hdbscan.HDBSCAN(min_cluster_size=_LEAST_CLUSTER).fit_predict(reduced)


def _adjusted_rand_index(planted: IntArray, labels: IntArray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(planted, labels))


if __name__ == "__main__":
    area.main(__doc__, lines)
