# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn is untyped.
"""`selection.saps`: the whole ranking, against the study's released path in scikit-learn.

That is PCA to 50, mini-batch k-means, sort by distance. The limit is the arithmetic that exact PCA and one assignment
need, at this process's fp32 matrix product. `value_agrees`: the mean squared distance to the own centroid is not
larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import AS_GOOD, SEED, WIDTH, Points, Size, make_features
from llm_repair.core.allocation import IntArray
from llm_repair.core.selection import SapsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.saps import SapsSelection, cluster, reduce

QUICK = (Size(2_000, 50, 3),)
FULL = (Size(5_000, 250, 9), Size(20_000, 250, 7), Size(100_000, 250, 5))


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        yield from _side_by_side(make_features(size.n), size, limits)


def _side_by_side(features: Features, size: Size, limits: Limits) -> Iterator[Line]:
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
        agrees={"ours": float(np.square(ours).mean()) <= AS_GOOD * float(np.square(theirs).mean())},
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


if __name__ == "__main__":
    area.main(__doc__, lines)
