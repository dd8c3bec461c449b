"""Planted clusters are all found, which Lloyd's algorithm alone leaves to luck."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from llm_repair.selection import split_merge
from llm_repair.selection.split_merge import centroids_of


def planted(seed: int, clusters: int = 20, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Returns points around centres six standard deviations apart, of uneven shares, and their clusters."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(clusters, 5.0))
    truth = rng.choice(clusters, size=rows, p=shares)
    points = rng.normal(0, 1.5, (clusters, 30))[truth] + rng.normal(size=(rows, 30))
    return points.astype(np.float32), truth


def agreement(seed: int) -> float:
    """Returns the adjusted Rand index of the found clusters with the planted ones; 1 is equality."""
    points, truth = planted(seed)
    vectors = centroids_of(points, 20, seed).vectors
    found = np.linalg.norm(points[:, None] - vectors[None], axis=2).argmin(axis=1)
    return float(adjusted_rand_score(truth, found))


def test_all_planted_clusters_are_found_from_any_start() -> None:
    assert [agreement(seed) > 0.999 for seed in range(8)] == [True] * 8


def test_without_moves_some_start_merges_two_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above means something."""
    monkeypatch.setattr(split_merge, "_moved", lambda *_: None)

    assert min(agreement(seed) for seed in range(8)) < 0.97


def test_a_centroid_moves_from_a_cluster_with_two_to_the_one_with_none() -> None:
    """Three places on a line, 0, 10 and 20; a start at -0.1, 0.1 and 15 is a fixed point of Lloyd's algorithm."""
    rng = np.random.default_rng(0)
    points = (np.repeat([0.0, 10.0, 20.0], 50) + rng.normal(0, 0.5, 150))[:, None].astype(np.float32)
    stuck = split_merge.lloyd(points, np.array([[-0.1], [0.1], [15]], dtype=np.float32), seed=0)

    moved = split_merge._moved(points, stuck.vectors, 1)

    assert sorted(np.abs(stuck.vectors[:, 0]).round()) == [0, 0, 15]
    assert moved is not None
    assert sorted(moved[:, 0]) == pytest.approx([0, 10, 20], abs=1)


def test_nothing_moves_where_every_cluster_has_its_centroid() -> None:
    points = np.repeat(np.array([[0.0], [10.0], [20.0]], dtype=np.float32), 5, axis=0)

    assert split_merge._moved(points, np.array([[0], [10], [20]], dtype=np.float32), 1) is None


@pytest.mark.parametrize("clusters", [2, 3, 17])
def test_many_equal_points_are_no_obstacle(clusters: int) -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)

    found = centroids_of(points, clusters, 1)

    assert found.vectors.shape == (clusters, 3)
    assert np.isfinite(found.vectors).all()
    assert found.objective == pytest.approx(0, abs=1e-5) or clusters == 2
