"""What every strategy promises: the budget to the sample, nested, without repeats, whatever the pool."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_pools import SelectionPool, random_pool

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.budgets import share_of
from llm_repair.core.errors import FeaturesInvalid, PoolTooSmall
from llm_repair.core.presets import resolved
from llm_repair.core.selection import (
    Allocation,
    CcsStrategy,
    ClusterRandomStrategy,
    El2nStrategy,
    FractionBudget,
    FullStrategy,
    GrandStrategy,
    HardnessFilterStrategy,
    KCenterStrategy,
    LearnabilityStrategy,
    LossStrategy,
    RandomStrategy,
    SamplesBudget,
    SapsStrategy,
    Score,
    SelectionPreset,
    SelectionStrategy,
    Strategy,
    TokensBudget,
    score_gone_by,
    view_ranked_by,
)
from llm_repair.selection.features import Features
from llm_repair.selection.strategies import strategy_of

DEFAULT: dict[str, Strategy] = {
    "random": RandomStrategy(),
    "k_center": KCenterStrategy(pca_components=3),
    "k_center, unreduced": KCenterStrategy(pca_components=0),
    "grand": GrandStrategy(),
    "el2n": El2nStrategy(),
    "loss": LossStrategy(),
    "ccs": CcsStrategy(strata=5),
    "ccs, margins": CcsStrategy(score=Score.AUM, hard_cutoff=0.3),
    "ccs, edges": CcsStrategy(stratum_edges=(0.2, 0.3, 0.9), hard_cutoff=0.0),
    "saps": SapsStrategy(clusters=4, pca_components=3),
    "saps, equal": SapsStrategy(clusters=3, pca_components=0, allocation=Allocation.EQUAL, boundary_fraction=0.5),
    "saps, k by rule": SapsStrategy(clusters=0),
    "cluster_random": ClusterRandomStrategy(clusters=4, pca_components=3),
}
RANKINGS = {name: SelectionStrategy(strategy) for name, strategy in DEFAULT.items()} | {
    f"{name}, paper": SelectionStrategy(strategy, SelectionPreset.PAPER)
    for name, strategy in [("k_center", KCenterStrategy()), ("saps", SapsStrategy()), ("ccs", CcsStrategy())]
}
UNREDUCED = ("random", "grand", "el2n", "loss", "ccs", "ccs, margins", "ccs, edges", "k_center, unreduced")
"""Sums over rows differ in their last bits, and k-means starts from row numbers; these have neither."""
SEEDED = [name for name in RANKINGS if name not in ("grand", "el2n", "loss")]


def filtered(inner: SelectionStrategy, *, learnability: bool, hardness: bool) -> SelectionStrategy:
    """Scores of a random pool are uniform, so each filter drops about a tenth."""
    if hardness:
        inner = SelectionStrategy(HardnessFilterStrategy(max_hardness=0.9, then=inner))
    return SelectionStrategy(LearnabilityStrategy(then=inner)) if learnability else inner


FILTERED = {
    **{
        f"learnability > {name}": filtered(inner, learnability=True, hardness=False) for name, inner in RANKINGS.items()
    },
    **{
        f"learnability > hardness_filter > {name}": filtered(RANKINGS[name], learnability=True, hardness=True)
        for name in ("random", "ccs", "saps", "k_center")
    },
    "hardness_filter > learnability > loss": SelectionStrategy(
        HardnessFilterStrategy(max_hardness=0.9, then=filtered(RANKINGS["loss"], learnability=True, hardness=False))
    ),
}
ALL = RANKINGS | FILTERED


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path_factory.mktemp('store')}")


def features_for(choice: SelectionStrategy, matrix: np.ndarray, scores: np.ndarray) -> Features:
    """The features as the step would give them: scores turned so that larger is harder."""
    ranking = resolved(choice).ranking
    score = score_gone_by(ranking)
    ids = [f"row-{number:04}" for number in range(len(matrix))]
    hardness = None if score is None else -scores if score.hard_is_low else scores
    return Features(ids, embeddings=matrix if view_ranked_by(ranking) else None, hardness=hardness)


def ranked(choice: SelectionStrategy, features: Features, *, seed: int = 1, places: int | None = None) -> list[str]:
    ranking = strategy_of(resolved(choice)).rank(features, seed=seed, places=places or len(features))
    return [features.ids[row] for row in ranking.rows.tolist()]


@st.composite
def degenerate_pools(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """1 to 40 rows in 1 to 6 dimensions, with zero rows, duplicates and rows all alike, and few distinct scores."""
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    distinct = draw(st.integers(1, n))
    rows = rng.normal(size=(distinct, d))
    if draw(st.booleans()):
        rows[0] = 0
    chosen = rng.integers(0, distinct, size=n)
    return rows[chosen].astype(np.float32), rng.random(distinct)[chosen]


@pytest.mark.parametrize("choice", RANKINGS.values(), ids=RANKINGS)
@given(pool=degenerate_pools())
@settings(max_examples=15, deadline=None)
def test_every_fraction_is_exact_without_repeats_and_a_prefix_of_the_larger_ones(
    choice: SelectionStrategy, pool: tuple[np.ndarray, np.ndarray]
) -> None:
    features = features_for(choice, *pool)
    whole = ranked(choice, features)

    assert sorted(whole) == list(features.ids)
    for percent in range(1, 101, 3):
        places = share_of(percent / 100, len(features))
        selected = ranked(choice, features, places=places)[:places]
        assert len(selected) == places == len(set(selected))
        assert selected == whole[:places]


@pytest.mark.parametrize("choice", ALL.values(), ids=ALL)
def test_the_step_delivers_every_fraction_to_the_sample_and_nested(
    choice: SelectionStrategy, store: ArtifactStore
) -> None:
    """Filters keep at least 32 of these 41; a share is of the pool as given."""
    pool, before = random_pool(store, 41), list[str]()

    for fraction in (0.001, 0.1, 0.25, 0.5, 0.78):
        selection = pool.select(choice, FractionBudget(fraction))
        assert selection["delivered"] == len(set(selection["ids"])) == share_of(fraction, 41)
        assert selection["ids"][: len(before)] == before
        before = selection["ids"]


@pytest.mark.parametrize("choice", ALL.values(), ids=ALL)
def test_samples_and_tokens_buy_prefixes_of_the_same_ranking(choice: SelectionStrategy, store: ArtifactStore) -> None:
    pool = random_pool(store, 41)
    cost = dict(zip(pool.ids, pool.tokens, strict=True))
    ranking = pool.select(choice, SamplesBudget(32))["ids"]

    for tokens in (6, 7, 50, 90):
        bought = pool.select(choice, TokensBudget(tokens))
        count = bought["delivered"]
        assert bought["ids"] == ranking[:count]
        spent = sum(cost[name] for name in bought["ids"])
        assert bought["diagnostics"]["delivered_tokens"] == spent <= tokens
        assert spent + cost[ranking[count]] > tokens


@pytest.mark.parametrize("choice", ALL.values(), ids=ALL)
def test_the_order_of_the_pool_file_does_not_matter(choice: SelectionStrategy, store: ArtifactStore) -> None:
    pool = random_pool(store, 41)
    order = random.Random(3).sample(range(41), 41)
    shuffled = replace(
        pool,
        ids=[pool.ids[place] for place in order],
        embeddings=pool.embeddings[order],
        scores={score: values[order] for score, values in pool.scores.items()},
        tokens=[pool.tokens[place] for place in order],
    )

    assert pool.run(choice, FractionBudget(0.5)).outputs == shuffled.run(choice, FractionBudget(0.5)).outputs


@pytest.mark.parametrize("name", UNREDUCED)
def test_samples_are_ranked_by_what_they_are_and_not_by_their_rows(name: str) -> None:
    """Rows permuted together with their ids and features, as no pool ever comes; scores do not tie."""
    choice = RANKINGS[name]
    rng = np.random.default_rng(0)
    straight = features_for(choice, rng.normal(size=(50, 6)).astype(np.float32), rng.random(50))
    order = rng.permutation(50)
    permuted = Features(
        [straight.ids[row] for row in order],
        embeddings=None if straight.embeddings is None else straight.embeddings[order],
        hardness=None if straight.hardness is None else straight.hardness[order],
    )

    assert ranked(choice, permuted) == ranked(choice, straight)


@pytest.mark.parametrize("choice", ALL.values(), ids=ALL)
def test_equal_seeds_give_equal_selections_to_the_byte(choice: SelectionStrategy, store: ArtifactStore) -> None:
    pool = random_pool(store, 41)

    assert pool.run(choice, FractionBudget(0.5)).outputs == pool.run(choice, FractionBudget(0.5)).outputs


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_gives_another_ranking_where_chance_is_used(name: str) -> None:
    rng = np.random.default_rng(5)
    features = features_for(RANKINGS[name], rng.normal(size=(200, 6)).astype(np.float32), rng.random(200))

    assert len({tuple(ranked(RANKINGS[name], features, seed=seed)) for seed in range(6)}) > 1


@pytest.mark.parametrize("strategy", [GrandStrategy(), El2nStrategy(), LossStrategy()], ids=repr)
def test_scores_alone_are_ranked_hardest_first_whatever_the_seed_with_ties_by_id(strategy: Strategy) -> None:
    choice = SelectionStrategy(strategy)
    features = features_for(choice, np.zeros((6, 1)), np.array([0.5, 2.0, -0.0, 2.0, 0.0, 7.0]))

    for seed in range(3):
        order = [int(name[4:]) for name in ranked(choice, features, seed=seed)]
        assert order == [5, 1, 3, 0, 2, 4]


DEGENERATE: dict[str, tuple[Sequence[float], np.ndarray]] = {
    "one sample": ([0.5], np.ones((1, 4))),
    "one zero vector": ([0.5], np.zeros((1, 4))),
    "fewer samples than components": ([0.2, 0.4, 0.6], np.eye(3, 8)),
    "all alike": ([0.5] * 12, np.ones((12, 4))),
    "all zero": ([0.5] * 12, np.zeros((12, 4))),
    "two texts many times": ([0.2, 0.7] * 10, np.tile(np.eye(2, 8), (10, 1))),
    "one cluster": (list(np.linspace(0.1, 0.9, 30)), 5 + 1e-3 * np.random.default_rng(0).normal(size=(30, 4))),
    "one dimension": (list(np.linspace(0.1, 0.9, 15)), np.arange(15.0)[:, None]),
}


@pytest.mark.parametrize(("scores", "matrix"), DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("choice", ALL.values(), ids=ALL)
def test_degenerate_pools_give_a_defined_result(
    choice: SelectionStrategy, scores: Sequence[float], matrix: np.ndarray, store: ArtifactStore
) -> None:
    n = len(scores)
    pool = SelectionPool(
        store,
        [f"row-{number:04}" for number in range(n)],
        matrix.astype(np.float32),
        {score: np.array(scores) for score in Score},
    )

    whole = pool.select(choice, SamplesBudget(n))
    half = pool.select(choice, FractionBudget(0.5))

    assert sorted(whole["ids"]) == list(pool.ids)
    assert half["ids"] == whole["ids"][: share_of(0.5, n)]


@pytest.mark.parametrize("value", [np.float32("nan"), np.float32("inf"), np.float32("-inf"), np.float64(1e39)])
@pytest.mark.parametrize("name", [name for name, choice in ALL.items() if view_ranked_by(resolved(choice).ranking)])
def test_an_embedding_that_is_not_finite_is_refused_with_its_row(name: str, value: float, store: ArtifactStore) -> None:
    pool = random_pool(store, 9)
    pool = replace(pool, embeddings=pool.embeddings.astype(type(value)))
    pool.embeddings[pool.ids.index("row-0003"), 1] = value

    with pytest.raises(FeaturesInvalid) as refused:
        pool.select(ALL[name], FractionBudget(0.5))
    assert refused.value.metadata == {"field": "embeddings_digest", "row": "3", "id": "row-0003"}


@pytest.mark.parametrize("choice", ALL.values(), ids=ALL)
def test_more_samples_than_there_are_is_refused(choice: SelectionStrategy, store: ArtifactStore) -> None:
    with pytest.raises(PoolTooSmall):
        random_pool(store, 9).select(choice, SamplesBudget(10))


def test_full_delivers_the_whole_pool_by_id(store: ArtifactStore) -> None:
    pool = random_pool(store, 9)

    assert pool.select(SelectionStrategy(FullStrategy()), FractionBudget(1.0))["ids"] == sorted(pool.ids)


def test_every_strategy_of_the_contract_is_held_to_this() -> None:
    from typing import get_args

    tried = {type(part) for choice in ALL.values() for part in (*choice.filters, choice.ranking)} | {FullStrategy}

    assert tried == {*get_args(Strategy)}


def test_a_pool_of_a_thousand_is_selected_alike_in_one_place_and_in_another(tmp_path: Path) -> None:
    """Two stores, two folders of work: nothing of where it ran is in a selection."""
    choice = ALL["learnability > hardness_filter > saps"]
    outputs = [
        random_pool(ArtifactStore(f"file://{tmp_path / place}"), 1000).run(choice, FractionBudget(0.3)).outputs
        for place in ("here", "there")
    ]

    assert outputs[0] == outputs[1]
