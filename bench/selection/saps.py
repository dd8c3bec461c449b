# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn is untyped.
"""`selection.saps`: the whole ranking, against the study's released path in scikit-learn.

That is PCA to 50, mini-batch k-means, sort by distance. The limit is the arithmetic that exact PCA and one assignment
need, at this process's fp32 matrix product. `value_agrees`: the mean squared distance of the embeddings to the mean of
their cluster is not larger.

The last line of a size is what all-MiniLM-L6-v2 would need at least to embed the pool before: its 21.6 MFLOP a token
at the best matrix product of this process, without attention, for texts of 35 tokens, the mean of a real mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import AS_GOOD, SEED, WIDTH, Points, Size, make_features
from llm_repair.core.allocation import IntArray
from llm_repair.core.selection import SapsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.saps import SapsSelection

QUICK = (Size(2_000, 50, 3),)
FULL = (Size(2_000, 250, 9), Size(5_000, 250, 9), Size(20_000, 250, 7), Size(100_000, 250, 5))
_FLOP_A_TOKEN = 21.6e6
_TOKENS_A_TEXT = 35


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        yield from _side_by_side(make_features(size.n), size, limits)


@dataclass(frozen=True)
class _Ranked:
    """What a contender makes of a pool."""

    rows: IntArray
    labels: IntArray
    """(n,), the cluster of each row."""


def _side_by_side(features: Features, size: Size, limits: Limits) -> Iterator[Line]:
    points: Points = features.required_embeddings().astype(np.float32)
    contenders: dict[str, Callable[[], _Ranked]] = {
        "ours": lambda: _by_saps(features, size.picks),
        "scikit-learn, as the study released": lambda: _as_released(points),
    }
    timings = interleaved(contenders, rounds=size.rounds)
    ours, theirs = (_mean_squared_distance(points, ranked.labels) for ranked in timings.values.values())
    components, k = SapsStrategy().pca_components, SapsStrategy().clusters
    # Half of the symmetric covariance, one projection, one assignment; 2 operations a multiply-add.
    operations = size.n * (WIDTH**2 + 2 * WIDTH * components + 2 * components * k)
    yield from lines_of(
        timings,
        "selection.saps",
        str(size),
        agrees={"ours": ours <= AS_GOOD * theirs},
        limit_s=operations / (1e9 * limits.sgemm_gflops),
    )
    peak = 1e9 * max(limits.sgemm_gflops, limits.bf16_gflops)
    embedding_s = size.n * _TOKENS_A_TEXT * _FLOP_A_TOKEN / peak
    ratio = embedding_s / timings.median_s("ours")
    yield Line("selection.saps", "embedding the texts (least)", str(size), embedding_s, ratio)


def _by_saps(features: Features, picks: int) -> _Ranked:
    ranking = SapsSelection(SapsStrategy()).rank(features, seed=SEED, places=picks)
    assert ranking.clusters is not None, "SAPS clusters"
    return _Ranked(ranking.rows, ranking.clusters.labels)


def _as_released(points: Points) -> _Ranked:
    """Ranks cluster after cluster, farthest first."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    reduced = PCA(n_components=50, random_state=42).fit_transform(points)
    model = MiniBatchKMeans(n_clusters=10, batch_size=1000, random_state=42, n_init="auto").fit(reduced)
    distances = np.linalg.norm(reduced - model.cluster_centers_[model.labels_], axis=1)
    return _Ranked(np.lexsort((-distances, model.labels_)), model.labels_.astype(np.int64))


def _mean_squared_distance(points: Points, labels: IntArray) -> float:
    """Returns how far embeddings lie from the mean of their cluster; the same space for all contenders."""
    within = 0.0
    for number in np.unique(labels):
        members = points[labels == number].astype(np.float64)
        within += float(np.square(members - members.mean(axis=0)).sum())
    return within / len(points)


if __name__ == "__main__":
    area.main(__doc__, lines)
