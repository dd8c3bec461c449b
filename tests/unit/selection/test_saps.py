"""SAPS stage by stage on pools whose answer is known."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.selection import Allocation, SapsStrategy
from llm_repair.selection.clustering import Clusters, k_means
from llm_repair.selection.features import Features
from llm_repair.selection.principal_components import project
from llm_repair.selection.strategies.saps import SapsSelection, allocate, rank_within


def planted(sizes: list[int], dimensions: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns points around far centres, shuffled, and which centre each belongs to."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 30, (len(sizes), dimensions))
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (centres[truth] + rng.normal(0, 1, (len(truth), dimensions))).astype(np.float32), truth


def line(*distances: float) -> Clusters:
    """One cluster of points at these distances from its centroid."""
    return Clusters(np.zeros(len(distances), dtype=np.int64), np.zeros((1, 1)), np.array(distances, dtype=np.float32))


def test_pca_is_that_of_an_independent_oracle() -> None:
    """Singular vectors of the centred matrix; equal up to the sign of each component."""
    matrix = np.random.default_rng(1).normal(size=(300, 8)) @ np.diag([9, 7, 5, 4, 3, 2, 1, 0.5])
    centred = matrix - matrix.mean(axis=0)
    _, _, vectors = np.linalg.svd(centred, full_matrices=False)

    points = project(matrix.astype(np.float32), 3)

    expected = centred @ vectors[:3].T
    assert np.allclose(np.abs(points), np.abs(expected), atol=1e-3)


def test_pca_turns_the_sign_so_that_the_leading_weight_is_positive() -> None:
    """All variance lies along the first axis, so the first component is +x and never -x."""
    matrix = np.array([[-4.0, 0.1], [0.0, -0.1], [4.0, 0.0]], dtype=np.float32)

    assert project(matrix, 1)[:, 0].tolist() == pytest.approx([-4, 0, 4], abs=0.02)
    assert project(-matrix, 1)[:, 0].tolist() == pytest.approx([4, 0, -4], abs=0.02)


def test_pca_does_not_depend_on_the_size_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(2).normal(size=(101, 7)).astype(np.float32)
    whole = project(matrix, 4)

    monkeypatch.setattr("llm_repair.selection.features.BLOCK_ROWS", 13)

    assert np.allclose(project(matrix, 4), whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (5, 1), (60, 5)])
def test_pca_is_capped_by_rows_and_width(shape: tuple[int, int]) -> None:
    points = project(np.ones(shape, dtype=np.float32), 50)

    assert points.shape == (shape[0], min(shape))
    assert not points.any()  # no variance


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


_RANK_IN_CHILD = """
import sys
import faiss
import numpy as np
from llm_repair.core.selection import SapsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.saps import SapsSelection
faiss.omp_set_num_threads(int(sys.argv[1]))
matrix = np.random.default_rng(11).normal(size=(4000, 96)).astype(np.float32)
features = Features([f"{i:05}" for i in range(4000)], embeddings=matrix)
print(SapsSelection(SapsStrategy()).rank(features, seed=3, places=4000).rows.tolist())
"""


def test_the_ranking_is_the_same_in_another_process_and_with_more_threads() -> None:
    def ranked_with(threads: int) -> str:
        environment = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        return subprocess.run(
            [sys.executable, "-c", _RANK_IN_CHILD, str(threads)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    once, again, on_two = ranked_with(1), ranked_with(1), ranked_with(2)

    assert len(once) > 4000
    assert once == again == on_two


def test_the_farthest_come_first_and_ties_go_to_the_smaller_row() -> None:
    assert rank_within(line(1, 3, 2, 3, 0), 1.0)[0].tolist() == [1, 3, 2, 0, 4]


def test_a_boundary_fraction_of_zero_takes_the_nearest_first() -> None:
    assert rank_within(line(1, 3, 2, 5, 0), 0.0)[0].tolist() == [4, 0, 2, 1, 3]


def test_half_a_boundary_fraction_alternates_between_both_ends() -> None:
    """floor(q / 2) far ones among the first q: near, far, near, far, near."""
    assert rank_within(line(1, 3, 2, 5, 0), 0.5)[0].tolist() == [4, 3, 0, 1, 2]


@given(st.integers(1, 60), st.sampled_from([0.0, 0.1, 0.25, 0.29, 0.5, 0.7, 0.75, 0.9, 1.0]))
@settings(deadline=None)
def test_every_quota_has_the_share_of_far_samples_of_the_release_without_repeats(size: int, share: float) -> None:
    """The release takes b = floor(q * share) of the farthest and q - b of the nearest."""
    percent = round(share * 100)
    order = rank_within(line(*range(size)), share)[0].tolist()

    assert sorted(order) == list(range(size))
    for quota in range(1, size + 1):
        far = quota * percent // 100
        expected = {*range(size - far, size), *range(quota - far)}
        assert set(order[:quota]) == expected


def test_proportional_takes_each_cluster_by_its_share() -> None:
    members = [np.arange(60), np.arange(60, 90), np.arange(90, 100)]

    chosen = allocate(members, Allocation.PROPORTIONAL)[:10]

    assert np.bincount(np.digitize(chosen, [60, 90])).tolist() == [6, 3, 1]


def test_equal_takes_the_quota_of_the_release_and_refills_what_is_short() -> None:
    """q = floor(50 / 5) = 10 of each; with a cluster of 4, its missing 6 come from the others, one by one."""
    large = [np.arange(start, start + 40) for start in range(0, 200, 40)]
    short = [*large[:4], np.arange(160, 164)]

    assert np.bincount(allocate(large, Allocation.EQUAL)[:50] // 40).tolist() == [10] * 5
    assert np.bincount(allocate(short, Allocation.EQUAL)[:50] // 40).tolist() == [12, 12, 11, 11, 4]


def test_saps_takes_the_outliers_of_every_planted_cluster() -> None:
    """Each of four clusters of 50 has 5 samples moved 12 away from its core; 10 % of the pool are these 20."""
    rng = np.random.default_rng(3)
    centres = 100 * np.eye(4, 16)
    points = np.repeat(centres, 50, axis=0) + rng.normal(0, 0.3, (200, 16))
    outliers = [cluster * 50 + place for cluster in range(4) for place in range(5)]
    for row in outliers:
        away = rng.normal(size=16)
        points[row] += 12 * away / np.linalg.norm(away)
    features = Features([f"{i:03}" for i in range(200)], embeddings=points.astype(np.float32))

    ranking = SapsSelection(SapsStrategy(clusters=4, pca_components=10)).rank(features, seed=1, places=20)

    assert sorted(ranking.rows[:20].tolist()) == outliers


def test_equal_samples_are_taken_by_id() -> None:
    """Forty copies of two texts: within each cluster all distances tie."""
    matrix = np.tile(np.eye(2, 8, dtype=np.float32), (20, 1))
    features = Features([f"{i:03}" for i in range(40)], embeddings=matrix)

    rows = SapsSelection(SapsStrategy()).rank(features, seed=0, places=40).rows

    assert rows[rows % 2 == 0].tolist() == list(range(0, 40, 2))
    assert rows[rows % 2 == 1].tolist() == list(range(1, 40, 2))
