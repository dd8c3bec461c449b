"""The step as it runs in a worker, from artifacts to artifacts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selection_pools import FOREIGN, QuietContext, SelectionPool, random_pool

from llm_repair.artifacts.datasets import Row, row_line, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import (
    ArtifactNotFound,
    BudgetTooSmall,
    DatasetInvalid,
    FeaturesInvalid,
    InvalidFields,
    PoolTooSmall,
    StepCancelled,
)
from llm_repair.core.selection import (
    Budget,
    CcsStrategy,
    FractionBudget,
    FullStrategy,
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
    TextView,
    TokensBudget,
)
from llm_repair.core.steps import SelectStep
from llm_repair.selection import candidates, select

RANDOM = SelectionStrategy(RandomStrategy())
LOSS = SelectionStrategy(LossStrategy())
SAPS = SelectionStrategy(SapsStrategy(clusters=2))


def numbered(store: ArtifactStore, matrix: np.ndarray, **scores: list[float]) -> SelectionPool:
    return SelectionPool(
        store,
        [f"row-{number:03}" for number in range(len(matrix))],
        matrix.astype(np.float32),
        {Score[name]: np.array(values) for name, values in scores.items()},
    )


def normal(rows: int, columns: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def stored(tmp_path: Path) -> set[Path]:
    """Returns what is in the store, local copies aside."""
    files = (path for path in (tmp_path / "store").rglob("*") if path.is_file())
    return {path for path in files if "cache" not in path.parts}


def refused_by(
    error: type[Exception], pool: SelectionPool, step: SelectStep, tmp_path: Path
) -> dict[str, str] | list[str]:
    """Runs the step, sees it refused with nothing stored, and returns what the error names."""
    before = stored(tmp_path)
    with pytest.raises(error) as refused:
        select.run(step, pool.store, QuietContext(tmp_path))
    assert stored(tmp_path) == before
    if isinstance(refused.value, InvalidFields):
        return [violation.field for violation in refused.value.violations]
    return refused.value.metadata  # type: ignore[attr-defined]


# What a selection says.


def test_saps_says_what_it_did(store: ArtifactStore) -> None:
    """Two far groups, 30 and 10 rows; a quarter of the pool takes 7 or 8 and 2 or 3 of them by Webster's method."""
    matrix = np.concatenate([normal(30), 50 + normal(10, seed=1)]).astype(np.float32)
    pool = numbered(store, matrix)

    output = pool.run(SAPS, FractionBudget(0.25))

    chosen = json.loads(store.get_bytes(output.outputs["selection"].digest))
    clusters = chosen["diagnostics"]["clusters"]
    assert [(row["total"], row["selected"]) for row in clusters] in ([(30, 8), (10, 2)], [(30, 7), (10, 3)])
    centres = [matrix[:30].mean(axis=0), matrix[30:].mean(axis=0)]
    for row, centre, start, end in zip(clusters, centres, (0, 30), (30, 40), strict=True):
        distances = np.linalg.norm(matrix[start:end] - centre, axis=1)
        assert row["exemplar"] == f"row-{start + int(distances.argmin()):03}"
        assert row["radius"] == pytest.approx(distances.max(), abs=1e-3)
    assert chosen["clusters"] == [0 if int(name[4:]) < 30 else 1 for name in chosen["ids"]]
    distances = chosen["diagnostics"]["distances"]
    assert (sum(distances["pool"]), sum(distances["selected"])) == (40, 10)
    assert output.summary["cluster_sizes"] == [30, 10]
    told = ("strategy", "pool", "delivered", "text_view", "truncated", "truncated_share")
    assert [output.summary[name] for name in told] == ["SAPS", 40, 10, "PROMPT_REJECTED", 2, 0.05]


def test_the_result_carries_its_own_cost(store: ArtifactStore) -> None:
    summary = random_pool(store, 50).run(RANDOM, FractionBudget(0.5)).summary

    assert summary["seconds"] >= summary["ranking_seconds"] > 0  # type: ignore[operator]
    assert summary["peak_memory_bytes"] > 10_000_000  # type: ignore[operator]


def test_ccs_says_how_its_strata_were_covered_and_what_was_pruned(store: ArtifactStore) -> None:
    """Losses 0 to 9: two are pruned; the rest up to 7.0007 in two strata below and above 3.50035, four each.

    Of 9 samples all 8 and the less hard of the pruned are delivered.
    """
    pool = numbered(store, normal(10), LOSS=[float(loss) for loss in range(10)])
    choice = SelectionStrategy(CcsStrategy(strata=2, hard_cutoff=0.2))

    some, most = (pool.select(choice, SamplesBudget(samples))["diagnostics"] for samples in (3, 9))

    edge = pytest.approx(3.50035)
    assert some["strata"] == [
        {"stratum": 0, "low": None, "high": edge, "total": 4, "selected": 1},
        {"stratum": 1, "low": edge, "high": None, "total": 4, "selected": 2},
    ]
    assert (some["pruned"], some["readmitted"], some["score"]) == (2, 0, "LOSS")
    assert (most["pruned"], most["readmitted"]) == (2, 1)
    assert [row["selected"] for row in most["strata"]] == [4, 4]


def test_the_map_shows_every_sample_with_its_place(store: ArtifactStore) -> None:
    output = numbered(store, normal(20)).run(SAPS, SamplesBudget(6))

    chosen = json.loads(store.get_bytes(output.outputs["selection"].digest))
    shown = json.loads(store.get_bytes(output.outputs["map"].digest))
    assert shown["ids"] == [f"row-{i:03}" for i in range(20)]
    assert len(shown["x"]) == len(shown["y"]) == len(shown["cluster"]) == 20
    ranks = {name: rank for name, rank in zip(shown["ids"], shown["rank"], strict=True) if rank is not None}
    assert sorted(ranks, key=ranks.__getitem__) == chosen["ids"]


def test_a_map_of_a_large_pool_keeps_all_that_were_selected(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_repair.selection.diagnostics.MAP_POINTS", 12)
    output = numbered(store, normal(30)).run(SAPS, SamplesBudget(8))

    shown = json.loads(store.get_bytes(output.outputs["map"].digest))

    assert (shown["pool"], shown["shown"], len(set(shown["ids"]))) == (30, 12, 12)
    assert sorted(rank for rank in shown["rank"] if rank is not None) == list(range(8))


def test_a_strategy_without_embeddings_has_no_map(store: ArtifactStore) -> None:
    output = random_pool(store, 9).run(LOSS, SamplesBudget(3))

    assert set(output.outputs) == {"selection"}


def test_a_preset_is_carried_out_where_a_step_brings_one(store: ArtifactStore) -> None:
    """The release has ten clusters, where two are asked for above."""
    paper = SelectionStrategy(SapsStrategy(), SelectionPreset.PAPER)

    selection = numbered(store, normal(12)).select(paper, SamplesBudget(2))

    assert len(selection["diagnostics"]["clusters"]) == 10


def test_the_summary_lists_the_largest_clusters_only(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_SUMMARY_CLUSTERS", 2)
    output = numbered(store, normal(40)).run(SelectionStrategy(SapsStrategy(clusters=5)), SamplesBudget(2))

    chosen = json.loads(store.get_bytes(output.outputs["selection"].digest))

    sizes = [row["total"] for row in chosen["diagnostics"]["clusters"]]
    assert len(sizes) == 5
    assert output.summary["cluster_sizes"] == sizes[:2]


# Filters.


def around(strategy: Strategy, **bounds: float) -> SelectionStrategy:
    return SelectionStrategy(LearnabilityStrategy(**bounds, then=SelectionStrategy(strategy)))  # type: ignore[arg-type]


def test_a_filter_leaves_the_rest_to_the_strategy_inside_and_says_what_it_dropped(store: ArtifactStore) -> None:
    """Rates 0, 0, 0.5, 0.2, 1 and 0.9: three are kept, of which loss takes the larger two."""
    pool = numbered(store, normal(6), FAILURE_RATE=[0, 0, 0.5, 0.2, 1, 0.9], LOSS=[9, 9, 1, 3, 9, 2])

    selection = pool.select(around(LossStrategy()), SamplesBudget(2))

    assert selection["ids"] == ["row-003", "row-005"]
    assert selection["diagnostics"]["pool"] == 6
    assert selection["diagnostics"]["filters"] == [
        {"filter": "LEARNABILITY", "kept": 3, "dropped_too_low": 2, "dropped_too_high": 1}
    ]


def test_each_filter_counts_what_those_outside_it_left(store: ArtifactStore) -> None:
    """The first drops rows 0 and 1, the second of the others row 2; row 0 is hard as well, and counts once."""
    pool = numbered(store, normal(5), FAILURE_RATE=[0, 1, 0.5, 0.5, 0.5], INSTANCE_HARDNESS=[0.99, 0.1, 0.99, 0.1, 0.2])
    choice = SelectionStrategy(
        LearnabilityStrategy(then=SelectionStrategy(HardnessFilterStrategy(max_hardness=0.9, then=RANDOM)))
    )

    selection = pool.select(choice, SamplesBudget(2))

    assert sorted(selection["ids"]) == ["row-003", "row-004"]
    assert selection["diagnostics"]["filters"] == [
        {"filter": "LEARNABILITY", "kept": 3, "dropped_too_low": 1, "dropped_too_high": 1},
        {"filter": "HARDNESS_FILTER", "kept": 2, "dropped_too_low": 0, "dropped_too_high": 1},
    ]


@pytest.mark.parametrize("inner", [SapsStrategy(clusters=3), KCenterStrategy(pca_components=2), CcsStrategy(strata=3)])
def test_what_a_filter_leaves_is_ranked_as_a_pool_of_its_own(
    inner: Strategy, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same ranking as of a pool that never had the rows; embeddings are copied four rows at a time."""
    monkeypatch.setattr("llm_repair.selection.features.BLOCK_ROWS", 4)
    rng = np.random.default_rng(0)
    rates, losses, matrix = rng.random(30), rng.random(30), normal(30)
    kept = np.flatnonzero((rates >= 0.2) & (rates <= 0.8))
    whole = numbered(store, matrix, FAILURE_RATE=rates.tolist(), LOSS=losses.tolist())
    rest = SelectionPool(
        store,
        [whole.ids[row] for row in kept],
        whole.embeddings[kept],
        {Score.LOSS: losses[kept]},
    )

    selection = whole.select(around(inner, low=0.2, high=0.8), SamplesBudget(len(kept)))

    alone = rest.select(SelectionStrategy(inner), SamplesBudget(len(kept)))
    assert (selection["ids"], selection["clusters"]) == (alone["ids"], alone["clusters"])


def test_a_budget_that_a_filter_does_not_leave_is_refused_naming_it(store: ArtifactStore, tmp_path: Path) -> None:
    """A share is of the pool as given: half of 6 is 3, and 2 are left."""
    pool = numbered(store, normal(6), FAILURE_RATE=[0, 0, 0.5, 0.2, 1, 1], INSTANCE_HARDNESS=[0.1] * 6)
    choice = SelectionStrategy(HardnessFilterStrategy(then=around(RandomStrategy())))

    told = refused_by(PoolTooSmall, pool, pool.step(choice, FractionBudget(0.5)), tmp_path)

    assert told == {"filter": "LEARNABILITY", "kept": "2", "asked": "3"}
    assert pool.select(choice, FractionBudget(0.3))["delivered"] == 2


def test_tokens_buy_all_that_a_filter_leaves(store: ArtifactStore) -> None:
    pool = numbered(store, normal(4), FAILURE_RATE=[0, 0.5, 0.5, 1])

    assert sorted(pool.select(around(RandomStrategy()), TokensBudget(99))["ids"]) == ["row-001", "row-002"]


def test_a_filter_that_leaves_nothing_is_refused_whatever_the_budget(store: ArtifactStore, tmp_path: Path) -> None:
    pool = numbered(store, normal(3), FAILURE_RATE=[0, 0, 1])

    told = refused_by(PoolTooSmall, pool, pool.step(around(RandomStrategy()), TokensBudget(99)), tmp_path)

    assert told == {"filter": "LEARNABILITY", "kept": "0", "asked": "1"}


# Bad input: refused by field, nothing stored.


def test_tokens_under_the_shortest_sample_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    pool = random_pool(store, 5)

    told = refused_by(BudgetTooSmall, pool, pool.step(RANDOM, TokensBudget(2)), tmp_path)

    assert told == {"field": "budget.tokens.tokens", "tokens": "2", "needed": "3"}


def test_more_samples_than_the_pool_has_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    pool = random_pool(store, 5)

    told = refused_by(PoolTooSmall, pool, pool.step(RANDOM, SamplesBudget(6)), tmp_path)

    assert told == {"field": "budget.samples.samples", "samples": "6", "pool": "5"}


def test_an_empty_pool_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    pool = random_pool(store, 0)

    refused_by(PoolTooSmall, pool, pool.step(RANDOM, FractionBudget(1.0)), tmp_path)


def test_full_with_less_than_the_whole_pool_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    pool = random_pool(store, 5)

    told = refused_by(InvalidFields, pool, pool.step(SelectionStrategy(FullStrategy()), FractionBudget(0.5)), tmp_path)

    assert told == ["budget.limit"]


@pytest.mark.parametrize("shape", [(4, 3), (6, 3), (5, 0), (5,), (5, 3, 1)])
def test_embeddings_of_another_shape_are_refused(store: ArtifactStore, tmp_path: Path, shape: tuple[int, ...]) -> None:
    pool = random_pool(store, 5)
    pool = replace(pool, embeddings=np.ones(shape, dtype=np.float32))

    told = refused_by(FeaturesInvalid, pool, pool.step(SAPS, SamplesBudget(2)), tmp_path)

    assert told == {"field": "embeddings_digest", "shape": "x".join(map(str, shape)), "rows": "5"}


@pytest.mark.parametrize("kind", [np.int64, np.complex64, bool])
def test_embeddings_that_are_no_floats_are_refused(store: ArtifactStore, tmp_path: Path, kind: type) -> None:
    pool = replace(random_pool(store, 5), embeddings=np.ones((5, 3), dtype=kind))

    told = refused_by(FeaturesInvalid, pool, pool.step(SAPS, SamplesBudget(2)), tmp_path)

    assert told == {"field": "embeddings_digest", "type": str(np.dtype(kind))}


def test_double_precision_embeddings_are_as_good(store: ArtifactStore) -> None:
    pool = random_pool(store, 20)

    wide = replace(pool, embeddings=pool.embeddings.astype(np.float64))

    assert wide.select(SAPS, SamplesBudget(9)) == pool.select(SAPS, SamplesBudget(9))


def test_embeddings_of_another_text_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    pool = random_pool(store, 5)
    step = replace(
        pool.step(SAPS, SamplesBudget(2)), embeddings_digest=pool.put_embeddings(pool.digest(), TextView.CHOSEN)
    )

    told = refused_by(FeaturesInvalid, pool, step, tmp_path)

    assert told == {"field": "embeddings_digest", "embedded": "CHOSEN", "want": "PROMPT_REJECTED"}


Change = Callable[[SelectionPool], dict[str, Any]]

WRONG: dict[str, tuple[SelectionStrategy, Change, str]] = {
    "no embeddings": (SAPS, lambda pool: {"embeddings_digest": ""}, "embeddings_digest"),
    "no scores": (LOSS, lambda pool: {"scores_digest": ""}, "scores_digest"),
    "no scores for the filter": (
        around(RandomStrategy()),
        lambda pool: {"filter_scores_digests": ()},
        "filter_scores_digests",
    ),
    "empty scores for the filter": (
        around(RandomStrategy()),
        lambda pool: {"filter_scores_digests": ("",)},
        "filter_scores_digests[0]",
    ),
    "scores for filters that are not there": (
        LOSS,
        lambda pool: {"filter_scores_digests": (pool.put_scores(pool.digest(), Score.FAILURE_RATE),)},
        "filter_scores_digests",
    ),
    "embeddings of another pool": (
        SAPS,
        lambda pool: {"embeddings_digest": pool.put_embeddings(FOREIGN, TextView.PROMPT_REJECTED)},
        "embeddings_digest",
    ),
    "scores of another pool": (
        LOSS,
        lambda pool: {"scores_digest": pool.put_scores(FOREIGN, Score.LOSS)},
        "scores_digest",
    ),
    "scores of another kind": (
        LOSS,
        lambda pool: {"scores_digest": pool.put_scores(pool.digest(), Score.GRAND)},
        "scores_digest",
    ),
    "scores of another kind for the filter": (
        around(RandomStrategy()),
        lambda pool: {"filter_scores_digests": (pool.put_scores(pool.digest(), Score.LOSS),)},
        "filter_scores_digests[0]",
    ),
    "embeddings in place of scores": (
        LOSS,
        lambda pool: {"scores_digest": pool.put_embeddings(pool.digest(), TextView.PROMPT)},
        "scores_digest",
    ),
    "scores in place of embeddings": (
        SAPS,
        lambda pool: {"embeddings_digest": pool.put_scores(pool.digest(), Score.LOSS)},
        "embeddings_digest",
    ),
    "the pool in place of embeddings": (SAPS, lambda pool: {"embeddings_digest": pool.digest()}, "embeddings_digest"),
    "the pool in place of scores": (LOSS, lambda pool: {"scores_digest": pool.digest()}, "scores_digest"),
}


@pytest.mark.parametrize(("choice", "change", "field"), WRONG.values(), ids=WRONG)
def test_what_does_not_belong_to_the_pool_or_the_strategy_is_refused_by_field(
    choice: SelectionStrategy, change: Change, field: str, store: ArtifactStore, tmp_path: Path
) -> None:
    pool = random_pool(store, 5)

    told = refused_by(FeaturesInvalid, pool, replace(pool.step(choice, SamplesBudget(1)), **change(pool)), tmp_path)

    assert isinstance(told, dict)
    assert told["field"] == field


@pytest.mark.parametrize(
    ("choice", "field"),
    [(SAPS, "embeddings_digest"), (LOSS, "scores_digest")],
)
def test_a_digest_that_is_not_in_the_store_is_told_as_such(
    choice: SelectionStrategy, field: str, store: ArtifactStore, tmp_path: Path
) -> None:
    pool = random_pool(store, 5)

    refused_by(ArtifactNotFound, pool, replace(pool.step(choice, SamplesBudget(1)), **{field: FOREIGN}), tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_row(store: ArtifactStore, tmp_path: Path, value: float) -> None:
    """As no step of ours stores it, so written by hand."""
    pool = random_pool(store, 5)
    step = pool.step(LOSS, SamplesBudget(1))
    folder = tmp_path / "scores"
    folder.mkdir()
    np.save(folder / "scores.npy", np.array([1, 1, 1, value, 1], dtype=np.float64))
    (folder / "about.json").write_text(json.dumps({"pool": step.pool_digest, "score": "LOSS"}))

    told = refused_by(FeaturesInvalid, pool, replace(step, scores_digest=store.put_tree(folder).digest), tmp_path)

    assert told == {"field": "scores_digest", "row": "3", "id": "row-0003"}


def test_a_pool_that_does_not_ascend_by_id_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    lines = [row_line(Row(name, prompt="p", chosen="c")) for name in ("a", "c", "b")]
    digest = store.put_bytes(b"".join(lines)).digest
    pool = random_pool(store, 3)

    told = refused_by(DatasetInvalid, pool, replace(pool.step(RANDOM, SamplesBudget(1)), pool_digest=digest), tmp_path)

    assert told == {"line": "3", "digest": digest}


def test_a_cancelled_step_stops(store: ArtifactStore, context: Any) -> None:
    context.cancelled = True

    for choice in (RANDOM, SAPS):
        with pytest.raises(StepCancelled):
            select.run(random_pool(store, 5).step(choice, SamplesBudget(1)), store, context)


def test_a_long_pool_is_cancelled_while_it_is_read(
    store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_ROWS_PER_BEAT", 2)
    digest = write_rows(store, [Row(f"row-{i}", prompt="p", chosen="c") for i in range(9)]).digest
    context.cancelled = True

    with pytest.raises(StepCancelled):
        select.run(SelectStep(digest, RANDOM, Budget(SamplesBudget(1)), 1), store, context)
    assert context.reports == []


def test_progress_is_told_while_a_pool_is_read_and_ranked(
    store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_ROWS_PER_BEAT", 2)

    select.run(random_pool(store, 5).step(RANDOM, SamplesBudget(1)), store, context)

    assert context.reports == [
        (2, 0, "samples", "reading the pool"),
        (4, 0, "samples", "reading the pool"),
        (0, 5, "samples", "ranking"),
        (5, 5, "samples", "ranking"),
    ]
