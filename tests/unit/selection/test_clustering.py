"""k-means on points whose clusters are known, and what it promises about places, scale and shards."""

import ast
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from llm_repair.selection import clustering
from llm_repair.selection.clustering import k_means, rule_of_thumb
from llm_repair.selection.shards import LocalShards

SELECTION = Path(clustering.__file__).parent


def planted(sizes: list[int], dimensions: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns points around far centres, shuffled, and which centre each belongs to."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 30, (len(sizes), dimensions))
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (centres[truth] + rng.normal(0, 1, (len(truth), dimensions))).astype(np.float32), truth


def test_k_means_finds_planted_clusters_and_numbers_them_by_size() -> None:
    points, truth = planted([50, 120, 80])

    clusters = k_means(points, 3, seed=7)

    assert clusters.sizes() == [120, 80, 50]
    assert [set(truth[clusters.labels == number]) for number in range(3)] == [{1}, {2}, {0}]
    own = np.linalg.norm(points - clusters.centroids[clusters.labels], axis=1)
    assert np.allclose(clusters.distances, own, rtol=1e-5)


def test_k_means_is_not_worse_than_scikit_learn() -> None:
    """Mean squared distance within 2 % of Lloyd's algorithm with ten starts, on data without clear clusters."""
    from sklearn.cluster import KMeans

    points = np.random.default_rng(8).normal(size=(3000, 10)).astype(np.float32)

    ours = float((k_means(points, 10, seed=1).distances.astype(np.float64) ** 2).sum())

    theirs = KMeans(10, n_init=10, random_state=0).fit(points).inertia_
    assert ours <= 1.02 * theirs


def test_centroids_trained_on_a_sample_still_find_all_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "TRAINING_POINTS", 60)
    monkeypatch.setattr(clustering, "TRAINING_POINTS_PER_CLUSTER", 10)
    points, truth = planted([500, 900, 700], seed=1)

    clusters = k_means(points, 3, seed=2)

    assert clusters.sizes() == [900, 700, 500]
    assert all(len(set(truth[clusters.labels == number])) == 1 for number in range(3))


@pytest.mark.parametrize("exponent", [-100, 100])
def test_points_whose_squares_float32_cannot_hold_are_clustered_alike(exponent: int) -> None:
    points, _ = planted([50, 120, 80])
    plain = k_means(points, 3, seed=7)

    scaled = k_means(np.ldexp(points, exponent), 3, seed=7)

    assert np.array_equal(scaled.labels, plain.labels)
    assert np.allclose(np.ldexp(scaled.distances, -exponent), plain.distances, rtol=1e-5)


@pytest.mark.parametrize(
    ("points", "expected_clusters"),
    [
        (np.zeros((1, 3)), 1),
        (np.zeros((9, 3)), 1),
        (np.array([[0.0], [-0.0], [1.0]]), 2),
        (np.repeat(np.eye(3), 5, axis=0), 3),
        (np.arange(4.0)[:, None], 4),
    ],
)
def test_k_means_has_no_more_clusters_than_distinct_points_and_none_empty(
    points: np.ndarray, expected_clusters: int
) -> None:
    clusters = k_means(points.astype(np.float32), 10, seed=0)

    assert len(clusters.centroids) == expected_clusters
    assert min(clusters.sizes()) > 0
    assert np.allclose(clusters.distances, 0)


@pytest.mark.parametrize("shards", [2, 7])
def test_any_number_of_shards_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    monkeypatch.setattr("llm_repair.selection.atoms.ATOM_ROWS", 32)
    points = np.random.default_rng(3).normal(size=(1001, 6)).astype(np.float32)

    one, several = k_means(points, 9, seed=1), k_means(points, 9, seed=1, shards=LocalShards(shards))

    assert one.labels.tobytes() == several.labels.tobytes()
    assert one.distances.tobytes() == several.distances.tobytes()
    assert one.centroids.tobytes() == several.centroids.tobytes()


def test_equal_points_share_label_and_distance_wherever_they_stand() -> None:
    rng = np.random.default_rng(4)
    distinct = rng.normal(size=(90, 50)).astype(np.float32)
    which = rng.integers(90, size=2 * 2048 + 1)

    clusters = k_means(distinct[which], 10, seed=1)

    for point in range(90):
        assert len(set(clusters.labels[which == point])) == len(set(clusters.distances[which == point])) == 1


@pytest.mark.parametrize(
    ("points", "expected"), [(1, 1), (2, 1), (8, 2), (200, 10), (5_000, 50), (24_512, 111), (1_000_000, 707)]
)
def test_the_rule_of_thumb_is_the_root_of_half_the_points(points: int, expected: int) -> None:
    """24,512 is the study's pool: sqrt(12,256) = 110.7."""
    assert rule_of_thumb(points) == expected


def test_k_means_runs_on_as_many_gpus_as_faiss_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpus(faiss.Kmeans):
        """Asks for GPUs as the GPU package would, and trains without them."""

        def __init__(self, *sizes: int, gpu: int, **parameters: Any) -> None:
            asked.append(gpu)
            super().__init__(*sizes, **parameters)

    asked: list[int] = []
    monkeypatch.setattr(faiss, "Kmeans", OnGpus)
    points, _ = planted([20, 30])
    k_means(points, 2, seed=0)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 3)
    k_means(points, 2, seed=0)

    assert asked == [0, 3]


def test_one_module_imports_faiss() -> None:
    """So that the CPU and the GPU package are behind one door."""

    def names(tree: ast.AST) -> set[str]:
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        members = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        return {name.split(".")[0] for name in [alias.name for node in imports for alias in node.names] + members}

    services = SELECTION.parent
    users = [path for path in services.rglob("*.py") if "faiss" in names(ast.parse(path.read_text(encoding="utf-8")))]

    assert users == [SELECTION / "faiss_kmeans.py"]
