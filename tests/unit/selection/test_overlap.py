"""Prompts that are in pool and evaluation: the same after normalisation, or near by their embeddings."""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selection_pools import FOREIGN, QuietContext

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import FeaturesInvalid, StepCancelled
from llm_repair.core.steps import OverlapStep
from llm_repair.selection import atoms, near_duplicates, overlap
from llm_repair.selection.near_duplicates import near_rows
from llm_repair.selection.shards import LocalShards


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store")


def put_rows(store: ArtifactStore, prefix: str, prompts: Sequence[str]) -> str:
    return write_rows(store, [Row(f"{prefix}{n:03}", prompt=text) for n, text in enumerate(prompts)]).digest


def put_embeddings(store: ArtifactStore, rows: str, matrix: np.ndarray, **about: object) -> str:
    known = {"pool": rows, "encoder": FOREIGN, "text_view": "PROMPT", "truncated": 0, "blank": 0}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "embeddings.npy", matrix.astype(np.float32))
        (Path(folder) / "about.json").write_text(json.dumps({**known, **about}))
        return store.put_tree(Path(folder)).digest


def found(step: OverlapStep, store: ArtifactStore, tmp_path: Path, **options: Any) -> dict[str, Any]:
    output = overlap.run(step, store, QuietContext(tmp_path), **options)
    return json.loads(store.get_bytes(output.outputs["overlap"].digest))


def angle(degrees: float) -> list[float]:
    """Returns a vector whose cosine to that of 0 degrees is that of the angle; its length says nothing."""
    return [3 * math.cos(math.radians(degrees)), 3 * math.sin(math.radians(degrees))]


def test_equal_prompts_are_found_whatever_their_case_and_blanks(store: ArtifactStore, tmp_path: Path) -> None:
    pool = put_rows(store, "p", ["One two", "three", "one  TWO ", "four"])
    prompts = put_rows(store, "e", ["ONE two", "five", "six"])

    result = found(OverlapStep(pool, prompts, 0.8), store, tmp_path)

    assert (result["pool_prompts"], result["evaluation_prompts"], result["shared"]) == (3, 3, 1)
    assert result["equal"] == {
        "evaluation_rows": 1,
        "pool_rows": 2,
        "pairs": [{"prompt_id": "e000", "pool_id": "p000", "similarity": 1.0}],
    }
    assert (result["near"], result["near_reason"]) == (None, "NO_ENCODER")
    assert "two" not in json.dumps(result).lower()


def test_a_prompt_is_near_its_nearest_row_if_the_cosine_reaches_the_bound(store: ArtifactStore, tmp_path: Path) -> None:
    """Rows at 0, 30 and 90 degrees. cos 30 is 0.866, cos 20 is 0.940, cos 60 is 0.5, cos 40 is 0.766."""
    pool = put_rows(store, "p", ["a", "b", "c"])
    prompts = put_rows(store, "e", ["A", "d", "e", "f"])
    of_pool = put_embeddings(store, pool, np.array([angle(0), angle(30), angle(90)]))
    of_prompts = put_embeddings(store, prompts, np.array([angle(0), angle(10), angle(-40), angle(150)]))

    near = found(OverlapStep(pool, prompts, 0.8, of_pool, of_prompts), store, tmp_path)["near"]

    # `A` equals `a`, so it is not near `b`; `d` is 10 degrees from `a` and 20 from `b`, both above the bound.
    assert near["pairs"] == [{"prompt_id": "e001", "pool_id": "p000", "similarity": round(math.cos(math.pi / 18), 6)}]
    assert (near["evaluation_rows"], near["pool_rows"], near["min_similarity"]) == (1, 2, 0.8)
    assert near["nearest"]["max"] == 1.0
    # Of the cosines 1, 0.985, 0.766 and 0.5 the median is (0.985 + 0.766) / 2.
    assert near["nearest"]["p50"] == pytest.approx((math.cos(math.pi / 18) + math.cos(2 * math.pi / 9)) / 2, abs=1e-4)


def random_case(rows: int, prompts: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random vectors, a third of the prompts next to some row, and some rows twice."""
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(rows, 7))
    pool[rows // 2 : rows // 2 + 9] = pool[:9]
    others = rng.normal(size=(prompts, 7))
    close = rng.integers(0, rows, prompts // 3)
    others[: len(close)] = pool[close] + 0.05 * rng.normal(size=(len(close), 7))
    return pool.astype(np.float32), others.astype(np.float32)


def by_hand(pool: np.ndarray, prompts: np.ndarray, bound: float) -> tuple[list[int], list[bool], np.ndarray]:
    """Returns the nearest near row of each prompt, which rows are near one, and the nearest cosine; pair by pair."""
    cosine = [[float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) for a in pool.astype(float)] for b in prompts]
    nearest = [max(range(len(row)), key=lambda place, row=row: (round(row[place], 12), -place)) for row in cosine]
    chosen = [place if row[place] >= bound else -1 for place, row in zip(nearest, cosine, strict=True)]
    return chosen, [any(row[n] >= bound for row in cosine) for n in range(len(pool))], np.max(cosine, axis=1)


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_blocks_and_shards_find_what_a_comparison_pair_by_pair_finds(
    shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atoms, "ATOM_ROWS", 16)
    monkeypatch.setattr(near_duplicates, "_PROMPTS_AT_ONCE", 10)
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 3)
    pool, prompts = random_case(150, 33, seed=1)

    result = near_rows(
        pool,
        prompts,
        0.9,
        wanted=np.ones(33, dtype=bool),
        shards=LocalShards(shards),
        beat=lambda compared: None,
    )

    chosen, near, nearest = by_hand(pool, prompts, 0.9)
    assert sum(place >= 0 for place in chosen) >= 11
    assert result.pairs.of_prompt.tolist() == chosen
    assert result.pairs.pool_rows.tolist() == near
    np.testing.assert_allclose(result.nearest, nearest, atol=1e-6)


def test_a_pair_exactly_at_the_bound_is_near_and_one_below_in_the_last_digits_is_not() -> None:
    """The vectors (3, 4) and (1, 0) have the cosine 0.6, which no float32 product gives exactly."""
    pool, prompts = np.array([[3, 4]], dtype=np.float32), np.array([[1, 0]], dtype=np.float32)

    def count(bound: float) -> int:
        found = near_rows(
            pool, prompts, bound, wanted=np.ones(1, dtype=bool), shards=LocalShards(1), beat=lambda compared: None
        )
        return len(found.pairs.paired)

    assert (count(0.6), count(0.6 + 1e-9)) == (1, 0)


def test_a_vector_of_zeros_is_near_nothing() -> None:
    found = near_rows(
        np.zeros((2, 3), dtype=np.float32),
        np.ones((1, 3), dtype=np.float32),
        0.1,
        wanted=np.ones(1, dtype=bool),
        shards=LocalShards(1),
        beat=lambda compared: None,
    )

    assert len(found.pairs.paired) == 0


def test_all_pairs_are_counted_and_the_most_similar_named(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "NAMED_PAIRS", 2)
    pool, prompts = put_rows(store, "p", ["a"]), put_rows(store, "e", ["b", "c", "d"])
    of_pool = put_embeddings(store, pool, np.array([angle(0)]))
    of_prompts = put_embeddings(store, prompts, np.array([angle(20), angle(5), angle(10)]))

    near = found(OverlapStep(pool, prompts, 0.8, of_pool, of_prompts), store, tmp_path)["near"]

    assert near["evaluation_rows"] == 3
    assert [pair["prompt_id"] for pair in near["pairs"]] == ["e001", "e002"]


@pytest.mark.parametrize(
    ("about", "field"),
    [
        ({"encoder": "sha256:" + "1" * 64}, ""),
        ({"pool": FOREIGN}, "prompts_embeddings_digest"),
        ({"text_view": "CHOSEN"}, "prompts_embeddings_digest"),
    ],
)
def test_embeddings_that_do_not_belong_are_refused(
    about: dict[str, str], field: str, store: ArtifactStore, tmp_path: Path
) -> None:
    pool, prompts = put_rows(store, "p", ["a"]), put_rows(store, "e", ["b"])
    of_pool = put_embeddings(store, pool, np.array([angle(0)]))
    of_prompts = put_embeddings(store, prompts, np.array([angle(0)]), **about)

    with pytest.raises(FeaturesInvalid) as refused:
        found(OverlapStep(pool, prompts, 0.8, of_pool, of_prompts), store, tmp_path)

    assert refused.value.metadata.get("field", "") == field


def test_a_cancel_ends_the_search(store: ArtifactStore, tmp_path: Path) -> None:
    class Cancelled(QuietContext):
        def raise_if_cancelled(self) -> None:
            raise StepCancelled

    pool = put_rows(store, "p", ["a"])

    with pytest.raises(StepCancelled):
        overlap.run(OverlapStep(pool, pool, 0.8), store, Cancelled(tmp_path))
