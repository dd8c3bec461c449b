"""Properties every strategy has, over pools of all shapes, degenerate ones included."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.budgets import share_of
from llm_repair.core.errors import FeaturesInvalid, InvalidFields, NotCarriedOut, UnknownStrategy
from llm_repair.core.selection import (
    Allocation,
    ClusterRandomStrategy,
    FullStrategy,
    KCenterStrategy,
    RandomStrategy,
    SapsStrategy,
    SelectionStrategy,
    Strategy,
)
from llm_repair.selection.features import Features
from llm_repair.selection.strategies import STRATEGIES, entry_of, strategy_of

RANKING = [
    RandomStrategy(),
    SapsStrategy(clusters=4, pca_components=3),
    SapsStrategy(clusters=3, pca_components=0, allocation=Allocation.EQUAL, boundary_fraction=0.5),
    KCenterStrategy(pca_components=3),
    ClusterRandomStrategy(clusters=4, pca_components=3),
]


@st.composite
def pools(draw: st.DrawFn) -> Features:
    """Pools of 1 to 40 rows in 1 to 6 dimensions, with zero rows, duplicates and rows all alike."""
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    distinct = draw(st.integers(1, n))
    rows = rng.normal(size=(distinct, d))
    if draw(st.booleans()):
        rows[0] = 0
    matrix = rows[rng.integers(0, distinct, size=n)].astype(np.float32)
    return Features([f"row-{i:03}" for i in range(n)], embeddings=matrix)


def ranked(parameters: Strategy, features: Features, *, seed: int = 1, places: int | None = None) -> list[str]:
    ranking = strategy_of(SelectionStrategy(parameters)).rank(features, seed=seed, places=places or len(features))
    return [features.ids[row] for row in ranking.rows]


@pytest.mark.parametrize("parameters", RANKING, ids=repr)
@given(features=pools())
@settings(max_examples=40, deadline=None)
def test_a_ranking_lists_the_whole_pool_once(parameters: Strategy, features: Features) -> None:
    assert sorted(ranked(parameters, features)) == sorted(features.ids)


@pytest.mark.parametrize("parameters", RANKING, ids=repr)
@given(features=pools())
@settings(max_examples=25, deadline=None)
def test_every_fraction_is_a_prefix_of_the_larger_ones_and_exact(parameters: Strategy, features: Features) -> None:
    whole = ranked(parameters, features)

    for percent in range(1, 101, 3):
        places = share_of(percent / 100, len(features))
        selected = ranked(parameters, features, places=places)[:places]
        assert len(selected) == places == len(set(selected))
        assert selected == whole[:places]


def spread(n: int, seed: int = 5) -> Features:
    matrix = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    return Features([f"row-{i:03}" for i in range(n)], embeddings=matrix)


@pytest.mark.parametrize("parameters", RANKING, ids=repr)
def test_equal_seeds_give_equal_rankings(parameters: Strategy) -> None:
    assert ranked(parameters, spread(200)) == ranked(parameters, spread(200))


@pytest.mark.parametrize("parameters", RANKING, ids=repr)
def test_another_seed_gives_another_ranking(parameters: Strategy) -> None:
    assert len({tuple(ranked(parameters, spread(200), seed=seed)) for seed in range(6)}) > 1


def test_full_lists_everything_and_refuses_less() -> None:
    features = spread(3)

    assert ranked(FullStrategy(), features) == list(features.ids)
    with pytest.raises(InvalidFields) as refused:
        ranked(FullStrategy(), features, places=2)
    assert refused.value.violations[0].field == "budget.limit"


def test_k_center_takes_the_farthest_each_time() -> None:
    """On a line at 0, 1, 4, 10: from 10 the farthest is 0; then 4 (4 away), then 1 (1 away)."""
    from llm_repair.selection.strategies.k_center import farthest_first

    points = np.array([[0], [1], [4], [10]], dtype=np.float32)

    assert farthest_first(points, 3, 4).tolist() == [3, 0, 2, 1]


def test_k_center_covers_with_at_most_twice_the_best_radius() -> None:
    """The guarantee of Gonzalez (1985), against all choices of 3 centres of 9 points."""
    from itertools import combinations

    from llm_repair.selection.strategies.k_center import farthest_first

    points = np.random.default_rng(3).normal(size=(9, 2)).astype(np.float32)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    best = min(distances[list(centres)].min(axis=0).max() for centres in combinations(range(9), 3))

    for start in range(9):
        chosen = farthest_first(points, start, 3)
        assert distances[chosen].min(axis=0).max() <= 2 * best + 1e-6


def test_k_center_leaves_duplicates_to_the_end() -> None:
    points = np.repeat(np.random.default_rng(4).normal(size=(5, 3)), 4, axis=0).astype(np.float32)
    features = Features([f"row-{i:03}" for i in range(20)], embeddings=points)

    first = ranked(KCenterStrategy(pca_components=2), features)[:5]

    assert len({int(name[4:]) // 4 for name in first}) == 5


def test_cluster_random_draws_from_clusters_in_proportion() -> None:
    """Two far groups of 60 and 20: of 8 samples 6 and 2."""
    rng = np.random.default_rng(0)
    matrix = np.concatenate([rng.normal(0, 0.1, (60, 4)), rng.normal(9, 0.1, (20, 4))]).astype(np.float32)
    features = Features([f"row-{i:03}" for i in range(80)], embeddings=matrix)

    for seed in range(5):
        drawn = ranked(ClusterRandomStrategy(clusters=2, pca_components=2), features, seed=seed)[:8]
        assert sum(int(name[4:]) < 60 for name in drawn) == 6


def test_a_strategy_on_embeddings_without_them_is_refused() -> None:
    with pytest.raises(FeaturesInvalid):
        ranked(SapsStrategy(), Features(["a", "b"]))


def test_the_registry_has_every_strategy_of_the_contract_once() -> None:
    assert sorted(entry.parameters.__name__ for entry in STRATEGIES) == sorted(
        kind.__name__ for kind in get_args(Strategy)
    )
    assert len({entry.name for entry in STRATEGIES}) == len(STRATEGIES)


def test_a_strategy_without_an_implementation_says_so() -> None:
    refused = 0
    for entry in STRATEGIES:
        try:
            strategy_of(SelectionStrategy(entry.parameters()))
        except NotCarriedOut as error:
            assert error.metadata == {"strategy": entry.name}
            refused += 1
    assert refused == 6


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownStrategy) as refused:
        entry_of("SAPS")  # pyright: ignore[reportArgumentType]

    assert "SAPS" in refused.value.metadata["known"]
