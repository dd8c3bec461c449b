"""The step as it runs in a worker, from artifacts to artifacts."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import BudgetTooSmall, FeaturesInvalid, InvalidFields, NotCarriedOut, PoolTooSmall
from llm_repair.core.repair import DaptMethod, RepairMethod
from llm_repair.core.selection import (
    Budget,
    FractionBudget,
    FullStrategy,
    LossStrategy,
    RandomStrategy,
    SamplesBudget,
    SapsStrategy,
    Score,
    SelectionStrategy,
    Strategy,
    TokensBudget,
)
from llm_repair.core.steps import ScoreStep, SelectStep
from llm_repair.selection import score, select


def pool(count: int) -> list[Row]:
    """Row i has 3 + i % 4 tokens."""
    return [Row(f"row-{i:03}", prompt="a b", chosen="c", rejected="d " * (i % 4)) for i in range(count)]


def embeddings(store: ArtifactStore, pool_digest: str, matrix: np.ndarray, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    np.save(folder / "embeddings.npy", matrix)
    about = {"pool": pool_digest, "truncated": 2, "text_view": "PROMPT"}
    (folder / "about.json").write_text(json.dumps(about))
    return store.put_tree(folder).digest


def step_for(
    store: ArtifactStore,
    strategy: Strategy,
    limit: FractionBudget | SamplesBudget | TokensBudget,
    rows: list[Row],
    *,
    matrix: np.ndarray | None = None,
    folder: Path | None = None,
    seed: int = 1,
) -> SelectStep:
    pool_digest = write_rows(store, rows).digest
    embedded = "" if matrix is None or folder is None else embeddings(store, pool_digest, matrix, folder)
    return SelectStep(pool_digest, SelectionStrategy(strategy), Budget(limit), seed, embedded)


def selection_of(step: SelectStep, store: ArtifactStore, context: Any) -> dict[str, Any]:
    return json.loads(store.get_bytes(select.run(step, store, context).outputs["selection"].digest))


def test_random_delivers_the_budget_and_the_order_of_the_source_does_not_matter(
    store: ArtifactStore, context: Any
) -> None:
    rows = pool(41)
    shuffled = random.Random(4).sample(rows, len(rows))

    straight = selection_of(step_for(store, RandomStrategy(), FractionBudget(0.25), rows), store, context)
    other = selection_of(step_for(store, RandomStrategy(), FractionBudget(0.25), shuffled), store, context)

    assert straight["delivered"] == len(set(straight["ids"])) == 10  # 10.25
    assert straight["clusters"] == [None] * 10
    assert straight == other


def test_saps_says_what_it_did(store: ArtifactStore, context: Any, tmp_path: Path) -> None:
    """Two far groups, 30 and 10 rows; a quarter of the pool takes 7 or 8 and 2 or 3 of them by Webster's method."""
    rng = np.random.default_rng(0)
    matrix = np.concatenate([rng.normal(0, 1, (30, 5)), rng.normal(50, 1, (10, 5))]).astype(np.float32)
    step = step_for(
        store, SapsStrategy(clusters=2), FractionBudget(0.25), pool(40), matrix=matrix, folder=tmp_path / "e"
    )

    output = select.run(step, store, context)

    chosen = json.loads(store.get_bytes(output.outputs["selection"].digest))
    clusters = chosen["diagnostics"]["clusters"]
    assert [(row["total"], row["selected"]) for row in clusters] in ([(30, 8), (10, 2)], [(30, 7), (10, 3)])
    centre = matrix[30:].mean(axis=0)
    nearest = 30 + int(np.linalg.norm(matrix[30:] - centre, axis=1).argmin())
    assert clusters[1]["exemplar"] == f"row-{nearest:03}"
    assert chosen["clusters"] == [0 if int(name[4:]) < 30 else 1 for name in chosen["ids"]]
    distances = chosen["diagnostics"]["distances"]
    assert (sum(distances["pool"]), sum(distances["selected"])) == (40, 10)
    assert output.summary["cluster_sizes"] == [30, 10]
    assert (output.summary["pool"], output.summary["delivered"], output.summary["truncated"]) == (40, 10, 2)
    assert output.summary["seconds"] >= output.summary["ranking_seconds"] > 0


def test_the_map_shows_every_sample_with_its_place(store: ArtifactStore, context: Any, tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    step = step_for(store, SapsStrategy(clusters=2), SamplesBudget(6), pool(20), matrix=matrix, folder=tmp_path / "e")

    output = select.run(step, store, context)

    chosen = json.loads(store.get_bytes(output.outputs["selection"].digest))
    shown = json.loads(store.get_bytes(output.outputs["map"].digest))
    assert shown["ids"] == [f"row-{i:03}" for i in range(20)]
    assert len(shown["x"]) == len(shown["y"]) == len(shown["cluster"]) == 20
    ranks = {name: rank for name, rank in zip(shown["ids"], shown["rank"], strict=True) if rank is not None}
    assert sorted(ranks, key=ranks.__getitem__) == chosen["ids"]


def test_a_map_of_a_large_pool_keeps_all_that_were_selected(
    store: ArtifactStore, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_repair.selection.diagnostics.MAP_POINTS", 12)
    matrix = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    step = step_for(store, SapsStrategy(), SamplesBudget(8), pool(30), matrix=matrix, folder=tmp_path / "e")

    shown = json.loads(store.get_bytes(select.run(step, store, context).outputs["map"].digest))

    assert (shown["pool"], shown["shown"], len(shown["ids"])) == (30, 12, 12)
    assert sorted(rank for rank in shown["rank"] if rank is not None) == list(range(8))


def test_a_repeated_selection_is_equal_to_the_byte(store: ArtifactStore, context: Any, tmp_path: Path) -> None:
    """The repair that follows is keyed by this digest, so no clock may show in it."""
    matrix = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    step = step_for(store, SapsStrategy(), SamplesBudget(6), pool(50), matrix=matrix, folder=tmp_path / "e")

    assert select.run(step, store, context).outputs == select.run(step, store, context).outputs


def test_tokens_buy_a_prefix_of_the_same_ranking(store: ArtifactStore, context: Any) -> None:
    rows = pool(40)
    whole = selection_of(step_for(store, RandomStrategy(), FractionBudget(1.0), rows), store, context)
    bought = selection_of(step_for(store, RandomStrategy(), TokensBudget(50), rows), store, context)
    cost = {row.id: 3 + int(row.id[4:]) % 4 for row in rows}

    count = bought["delivered"]
    spent = sum(cost[name] for name in bought["ids"])
    assert bought["ids"] == whole["ids"][:count]
    assert bought["diagnostics"]["delivered_tokens"] == spent <= 50
    assert spent + cost[whole["ids"][count]] > 50


def test_tokens_under_the_shortest_sample_are_refused(store: ArtifactStore, context: Any) -> None:
    with pytest.raises(BudgetTooSmall):
        select.run(step_for(store, RandomStrategy(), TokensBudget(2), pool(5)), store, context)


def test_more_samples_than_the_pool_has_are_refused(store: ArtifactStore, context: Any) -> None:
    with pytest.raises(PoolTooSmall):
        select.run(step_for(store, RandomStrategy(), SamplesBudget(6), pool(5)), store, context)


def test_full_with_less_than_the_whole_pool_is_refused(store: ArtifactStore, context: Any) -> None:
    assert selection_of(step_for(store, FullStrategy(), FractionBudget(1), pool(5)), store, context)["delivered"] == 5
    with pytest.raises(InvalidFields):
        select.run(step_for(store, FullStrategy(), FractionBudget(0.5), pool(5)), store, context)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(
    store: ArtifactStore, context: Any, tmp_path: Path, value: float
) -> None:
    matrix = np.ones((5, 3), dtype=np.float32)
    matrix[3, 1] = value
    step = step_for(store, SapsStrategy(), SamplesBudget(2), pool(5), matrix=matrix, folder=tmp_path / "e")

    with pytest.raises(FeaturesInvalid) as refused:
        select.run(step, store, context)
    assert refused.value.metadata == {"row": "3", "id": "row-003"}


@pytest.mark.parametrize("shape", [(4, 3), (6, 3), (5, 0), (5,)])
def test_embeddings_of_another_shape_are_refused(
    store: ArtifactStore, context: Any, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    matrix = np.ones(shape, dtype=np.float32)
    step = step_for(store, SapsStrategy(), SamplesBudget(2), pool(5), matrix=matrix, folder=tmp_path / "e")

    with pytest.raises(FeaturesInvalid):
        select.run(step, store, context)


def test_embeddings_of_another_pool_are_refused(store: ArtifactStore, context: Any, tmp_path: Path) -> None:
    foreign = embeddings(store, "sha256:" + "0" * 64, np.ones((5, 3), dtype=np.float32), tmp_path / "e")
    pool_digest = write_rows(store, pool(5)).digest
    step = SelectStep(pool_digest, SelectionStrategy(SapsStrategy()), Budget(SamplesBudget(2)), 1, foreign)

    with pytest.raises(FeaturesInvalid) as refused:
        select.run(step, store, context)
    assert refused.value.metadata["pool"] == pool_digest


def test_missing_embeddings_are_refused_by_field(store: ArtifactStore, context: Any) -> None:
    with pytest.raises(FeaturesInvalid) as refused:
        select.run(step_for(store, SapsStrategy(), SamplesBudget(2), pool(5)), store, context)
    assert refused.value.metadata == {"field": "embeddings_digest"}


def test_a_strategy_not_carried_out_is_refused_before_anything_is_read(store: ArtifactStore, context: Any) -> None:
    step = SelectStep(
        "sha256:" + "0" * 64, SelectionStrategy(LossStrategy()), Budget(SamplesBudget(1)), 1, scores_digest=""
    )

    with pytest.raises(NotCarriedOut):
        select.run(step, store, context)


def test_the_score_step_says_that_it_is_not_carried_out(store: ArtifactStore, context: Any) -> None:
    step = ScoreStep("sha256:" + "0" * 64, "sha256:" + "1" * 64, Score.GRAND, RepairMethod(DaptMethod()), 1)

    with pytest.raises(NotCarriedOut) as refused:
        score.run(step, store, context)
    assert refused.value.metadata == {"score": "GRAND"}
