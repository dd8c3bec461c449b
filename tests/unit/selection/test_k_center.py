"""K_CENTER against a loop that computes everything, in float64."""

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.selection import KCenterStrategy
from llm_repair.selection.cover import Cover
from llm_repair.selection.features import Features
from llm_repair.selection.shards import LocalShards
from llm_repair.selection.strategies.k_center import KCenterSelection, farthest_first


def greedy(points: np.ndarray, start: int, places: int) -> list[int]:
    """Sener & Savarese, Algorithm 1, as it is written down; equal distances to the smallest row."""
    wide = points.astype(np.float64)
    nearest = np.full(len(points), np.inf)
    picked = [start]
    while len(picked) < places:
        nearest = np.minimum(nearest, ((wide - wide[picked[-1]]) ** 2).sum(axis=1))
        nearest[picked] = -1
        picked.append(int(nearest.argmax()))
    return picked


def clustered(rows: int, width: int = 384) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, width))[rng.integers(20, size=rows)] + rng.normal(size=(rows, width))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


POOLS = {
    "unit vectors around centres": lambda: clustered(900),
    "no structure": lambda: normal(900, 50),
    "far from the origin": lambda: normal(900, 20) + np.float32(1e4),
    "lengths over many orders": lambda: normal(900, 20) * np.exp(8 * normal(900, 1)),
    "one row far away": lambda: np.concatenate([normal(899, 20), np.full((1, 20), 1e30, dtype=np.float32)]),
    "squares that overflow float32": lambda: np.float32(1e30) * normal(900, 20),
    "squares at the end of float32": lambda: np.float32(5e18) * normal(900, 20),
    "squares that lose digits in float32": lambda: np.float32(1e-22) * normal(900, 20),
    "squares that vanish in float32": lambda: np.float32(1e-30) * normal(900, 20),
    "subnormal": lambda: np.float32(1e-42) * normal(900, 20),
    "one dimension": lambda: normal(900, 1),
}


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_picks_are_those_of_the_plain_loop_on_any_number_of_shards(pool: Callable[[], np.ndarray], shards: int) -> None:
    points = pool()

    picked = farthest_first(points, 7, 500, LocalShards(shards))

    assert picked.tolist() == greedy(points, 7, 500)


@given(
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 7]),
)
@settings(deadline=None)
def test_ties_go_to_the_smallest_row_and_duplicates_come_last(
    rows: int, width: int, values: int, seed: int, shards: int
) -> None:
    """Small whole numbers have exact distances, many of them equal, and many rows lie on one another."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, values, size=(rows, width)).astype(np.float32)
    start = int(rng.integers(rows))

    picked = farthest_first(points, start, rows, LocalShards(shards)).tolist()

    assert picked == greedy(points, start, rows)
    distinct = len(np.unique(points, axis=0))
    assert len(np.unique(points[picked[:distinct]], axis=0)) == distinct


def test_a_level_pool_is_ranked_by_id() -> None:
    """Unit vectors along the axes are all equally far from one another: more ties than are kept at hand at once."""
    assert farthest_first(np.eye(300, dtype=np.float32), 5, 300).tolist() == [5, *(n for n in range(300) if n != 5)]


def test_zero_vectors_are_one_place() -> None:
    points = np.zeros((5, 3), dtype=np.float32)
    points[3] = [0, 1, 0]

    assert farthest_first(points, 4, 5).tolist() == [4, 3, 0, 1, 2]


def test_a_difference_that_float32_cannot_see_decides() -> None:
    """Squared distances 1 + 2**-40 of the last and 1 of the first, which float32 rounds to the same number."""
    points = np.zeros((3, 2), dtype=np.float32)
    points[0] = [1, 0]
    points[2] = [1, 2.0**-20]

    assert farthest_first(points, 1, 2).tolist() == [1, 2]


def test_where_a_row_stands_never_shows() -> None:
    """The kernel of a matrix product treats the last rows of a block otherwise than the first."""
    points = clustered(700)
    order = np.random.default_rng(2).permutation(700)

    straight, mixed = farthest_first(points, 5, 300), farthest_first(points[order], int(np.argsort(order)[5]), 300)

    assert order[mixed].tolist() == straight.tolist()


_PICK_IN_CHILD = """
import numpy as np
from llm_repair.selection.strategies.k_center import farthest_first
points = np.random.default_rng(11).normal(size=(3000, 96)).astype(np.float32)
print(farthest_first(points, 3, 800).tolist())
"""


def test_picks_are_the_same_in_another_process_and_with_more_threads() -> None:
    def picked_with(threads: int) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        return subprocess.run(
            [sys.executable, "-c", _PICK_IN_CHILD], env=environment, check=True, capture_output=True, text=True
        ).stdout

    once, on_two = picked_with(1), picked_with(2)

    assert once.count(",") == 799
    assert once == on_two


def test_the_start_is_drawn_by_seed_and_the_embeddings_are_kept_whole_without_components() -> None:
    features = Features([f"{row:03}" for row in range(200)], embeddings=clustered(200))
    strategy = KCenterSelection(KCenterStrategy(pca_components=0))

    starts = {int(strategy.rank(features, seed=seed, places=2).rows[0]) for seed in range(8)}
    first = strategy.rank(features, seed=1, places=50)

    assert len(starts) > 4
    assert first.rows.tolist() == greedy(clustered(200), int(first.rows[0]), 50)


def test_duplicates_come_last_by_id_also_after_a_projection() -> None:
    """Four copies of 30 texts have 29 components with a variance; in the other 21 there is rounding only."""
    texts = normal(30, 384)
    features = Features([f"{row:03}" for row in range(120)], embeddings=np.tile(texts, (4, 1)))

    rows = KCenterSelection(KCenterStrategy(pca_components=50)).rank(features, seed=1, places=120).rows.tolist()

    assert sorted(row % 30 for row in rows[:30]) == list(range(30))
    assert rows[30:] == sorted(rows[30:])


def test_less_than_half_of_the_pairs_are_looked_at_and_few_rows_are_read_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What makes it fast; a plain loop would look at all 4,000 x 200 pairs and read 4,000 x 200 rows."""
    looked_at, read = [0], [0]
    together, near = Cover._catch_up_together, Cover._bring_near

    def catch_up_together(cover: Cover, rows: np.ndarray) -> None:
        looked_at[0] += len(rows) * (cover._count - int(cover._seen[rows[0]]))
        read[0] += len(rows)
        together(cover, rows)

    def bring_near(cover: Cover, hot: object, row: int) -> None:
        looked_at[0] += len(hot.rows)  # pyright: ignore[reportAttributeAccessIssue]
        near(cover, hot, row)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Cover, "_catch_up_together", catch_up_together)
    monkeypatch.setattr(Cover, "_bring_near", bring_near)

    farthest_first(clustered(4000), 0, 200)

    assert 0 < looked_at[0] < 0.5 * 4000 * 200
    assert 0 < read[0] < 0.03 * 4000 * 200
