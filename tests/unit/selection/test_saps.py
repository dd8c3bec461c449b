"""SAPS stage by stage on pools whose answer is known."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.selection import Allocation, SapsStrategy
from llm_repair.selection.clustering import Clusters
from llm_repair.selection.features import Features
from llm_repair.selection.shards import LocalShards
from llm_repair.selection.strategies.saps import SapsSelection, allocate, rank_within


def line(*distances: float) -> Clusters:
    """One cluster of points at these distances from its centroid."""
    return Clusters(np.zeros(len(distances), dtype=np.int64), np.zeros((1, 1)), np.array(distances, dtype=np.float32))


_RANK_IN_CHILD = """
import sys
import faiss
import numpy as np
from llm_repair.core.selection import SapsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.shards import LocalShards
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


@pytest.mark.parametrize("components", [0, 8])
@pytest.mark.parametrize("shards", [2, 7])
def test_any_number_of_shards_gives_the_same_ranking(
    monkeypatch: pytest.MonkeyPatch, shards: int, components: int
) -> None:
    monkeypatch.setattr("llm_repair.selection.atoms.ATOM_ROWS", 64)
    ids = [f"{row:04}" for row in range(1500)]
    matrix = np.random.default_rng(7).normal(size=(1500, 24)).astype(np.float32)
    strategy = SapsSelection(SapsStrategy(pca_components=components, boundary_fraction=0.75))

    one = strategy.rank(Features(ids, embeddings=matrix), seed=3, places=1500)
    several = strategy.rank(Features(ids, embeddings=matrix, shards=LocalShards(shards)), seed=3, places=1500)

    assert one.rows.tobytes() == several.rows.tobytes()
    assert one.clusters is not None
    assert several.clusters is not None
    assert one.clusters.distances.tobytes() == several.clusters.distances.tobytes()


def test_without_a_number_of_clusters_there_are_as_many_as_the_root_of_half_the_pool() -> None:
    """sqrt(450 / 2) = 15."""
    matrix = np.random.default_rng(9).normal(size=(450, 8)).astype(np.float32)
    features = Features([f"{row:03}" for row in range(450)], embeddings=matrix)

    clusters = SapsSelection(SapsStrategy(clusters=0)).rank(features, seed=1, places=10).clusters

    assert clusters is not None
    assert len(clusters.sizes()) == 15


def test_the_rule_is_capped_by_distinct_samples() -> None:
    """450 copies of three texts: 15 by the rule, 3 by what there is."""
    matrix = np.tile(np.eye(3, dtype=np.float32), (150, 1))
    features = Features([f"{row:03}" for row in range(450)], embeddings=matrix)

    clusters = SapsSelection(SapsStrategy(clusters=0)).rank(features, seed=1, places=10).clusters

    assert clusters is not None
    assert clusters.sizes() == [150, 150, 150]


def test_every_cluster_is_ranked_by_its_own_distances() -> None:
    clusters = Clusters(np.array([0, 1, 0, 1, 0]), np.zeros((2, 1)), np.array([1, 5, 3, 4, 2], dtype=np.float32))

    assert [rows.tolist() for rows in rank_within(clusters, 1.0)] == [[2, 4, 0], [1, 3]]
