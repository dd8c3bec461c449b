"""The registry of strategies, and what is true of one of them only."""

from typing import get_args

import numpy as np
import pytest

from llm_repair.core.errors import FeaturesInvalid, InvalidFields, UnknownStrategy
from llm_repair.core.selection import (
    FILTER_SCORES,
    CcsStrategy,
    ClusterRandomStrategy,
    FilterStrategy,
    FullStrategy,
    HardnessFilterStrategy,
    LearnabilityStrategy,
    LossStrategy,
    SapsStrategy,
    SelectionStrategy,
    Strategy,
    score_gone_by,
)
from llm_repair.selection.features import Features
from llm_repair.selection.strategies import FILTERS, STRATEGIES, entry_of, filter_of, strategy_of


def ranked(parameters: Strategy, features: Features, *, seed: int = 1, places: int | None = None) -> list[str]:
    ranking = strategy_of(SelectionStrategy(parameters)).rank(features, seed=seed, places=places or len(features))
    return [features.ids[row] for row in ranking.rows]


def test_the_registry_has_every_strategy_of_the_contract_once() -> None:
    assert sorted(entry.parameters.__name__ for entry in STRATEGIES) == sorted(
        kind.__name__ for kind in get_args(Strategy)
    )
    assert len({entry.name for entry in STRATEGIES}) == len(STRATEGIES)


def test_the_filters_are_those_of_the_contract_and_go_by_their_scores() -> None:
    assert {entry.parameters for entry in FILTERS} == {*get_args(FilterStrategy)}
    assert [score_gone_by(entry.parameters()) for entry in FILTERS] == [*FILTER_SCORES]


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownStrategy) as refused:
        entry_of("SAPS")  # pyright: ignore[reportArgumentType]

    assert "SAPS" in refused.value.metadata["known"]


def test_what_ranks_is_the_innermost_strategy() -> None:
    inner = SelectionStrategy(FullStrategy())
    choice = SelectionStrategy(LearnabilityStrategy(then=SelectionStrategy(HardnessFilterStrategy(then=inner))))

    assert strategy_of(choice) == strategy_of(inner)


def test_full_lists_everything_and_refuses_less() -> None:
    features = Features(["a", "b", "c"])

    assert ranked(FullStrategy(), features) == ["a", "b", "c"]
    with pytest.raises(InvalidFields) as refused:
        ranked(FullStrategy(), features, places=2)
    assert refused.value.violations[0].field == "budget.limit"


def test_cluster_random_draws_from_clusters_in_proportion() -> None:
    """Two far groups of 60 and 20: of 8 samples 6 and 2."""
    rng = np.random.default_rng(0)
    matrix = np.concatenate([rng.normal(0, 0.1, (60, 4)), rng.normal(9, 0.1, (20, 4))]).astype(np.float32)
    features = Features([f"row-{i:03}" for i in range(80)], embeddings=matrix)

    for seed in range(5):
        drawn = ranked(ClusterRandomStrategy(clusters=2, pca_components=2), features, seed=seed)[:8]
        assert sum(int(name[4:]) < 60 for name in drawn) == 6


def test_cluster_random_draws_any_sample_of_a_cluster() -> None:
    """One cluster of 6, of which 3 are drawn: each 300 times in 600 seeds, standard deviation 12."""
    features = Features([f"row-{i}" for i in range(6)], embeddings=np.ones((6, 2), dtype=np.float32))

    drawn = [name for seed in range(600) for name in ranked(ClusterRandomStrategy(), features, seed=seed)[:3]]

    assert all(abs(drawn.count(name) - 300) < 5 * 12.3 for name in features.ids)


@pytest.mark.parametrize(
    ("strategy", "field"),
    [(SapsStrategy(), "embeddings_digest"), (LossStrategy(), "scores_digest"), (CcsStrategy(), "scores_digest")],
)
def test_a_strategy_without_what_it_ranks_by_is_refused_by_field(strategy: Strategy, field: str) -> None:
    with pytest.raises(FeaturesInvalid) as refused:
        ranked(strategy, Features(["a", "b"]))
    assert refused.value.metadata == {"field": field}


def test_learnability_keeps_prompts_that_fail_now_and_then_bounds_included() -> None:
    rates = np.array([0.0, 0.04, 0.05, 0.5, 0.95, 0.96, 1.0])

    filtered = filter_of(LearnabilityStrategy()).keep(rates)

    assert filtered.kept.tolist() == [False, False, True, True, True, False, False]
    assert filtered.too_low.tolist() == [True, True, False, False, False, False, False]
    assert filtered.too_high.tolist() == [False, False, False, False, False, True, True]


def test_the_hardness_filter_drops_what_is_harder_than_the_bound() -> None:
    filtered = filter_of(HardnessFilterStrategy(max_hardness=0.7)).keep(np.array([0.0, 0.7, 0.700001, 1.0]))

    assert filtered.kept.tolist() == [True, True, False, False]
    assert filtered.too_high.tolist() == [False, False, True, True]
    assert not filtered.too_low.any()
