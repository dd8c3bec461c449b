"""Instance hardness against scikit-learn's logistic regression, and on pairs whose swapped ones are known."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, FeaturesInvalid, StepCancelled
from llm_repair.core.hashing import seeded_hashes
from llm_repair.core.repair import DaptMethod, RepairMethod
from llm_repair.core.selection import Score
from llm_repair.core.steps import ScoreStep
from llm_repair.selection import atoms
from llm_repair.selection.scoring.instance_hardness import FOLDS, hardness_scores
from llm_repair.selection.shards import LocalShards

POOL = "sha256:" + "1" * 64


def put(store: ArtifactStore, matrix: np.ndarray, view: str, **about: object) -> str:
    known = {"pool": POOL, "encoder": "sha256:e", "text_view": view, "truncated": 0, "blank": 0}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "embeddings.npy", matrix.astype(np.float32))
        (Path(folder) / "about.json").write_text(json.dumps({**known, **about}))
        return store.put_tree(Path(folder)).digest


def step_for(store: ArtifactStore, chosen: np.ndarray, rejected: np.ndarray, seed: int = 1) -> ScoreStep:
    return ScoreStep(
        POOL,
        Score.INSTANCE_HARDNESS,
        RepairMethod(DaptMethod()),
        seed,
        chosen_embeddings_digest=put(store, chosen, "CHOSEN"),
        rejected_embeddings_digest=put(store, rejected, "REJECTED"),
    )


def ids_of(count: int) -> list[str]:
    return [f"pair-{number:05}" for number in range(count)]


def hardness_of(store: ArtifactStore, context: Any, chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    return hardness_scores(step_for(store, chosen, rejected), ids_of(len(chosen)), store, context)[0]


def pairs(count: int, swapped: float = 0.0, width: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rejected texts lie one step further along one direction, in noise; some pairs are the wrong way round."""
    rng = np.random.default_rng(3)
    chosen = rng.normal(size=(count, width))
    rejected = chosen + rng.normal(0, 0.4, (count, width)) + np.eye(width)[0]
    wrong = rng.random(count) < swapped
    return np.where(wrong[:, None], rejected, chosen), np.where(wrong[:, None], chosen, rejected), wrong


def test_hardness_is_that_of_a_logistic_regression_that_never_saw_the_pair(store: ArtifactStore, context: Any) -> None:
    """Each difference once as a positive and once turned as a negative sample: twice the loss, so C is 1/2."""
    from sklearn.linear_model import LogisticRegression

    chosen, rejected, _ = pairs(400, swapped=0.1)
    differences = rejected.astype(np.float32).astype(np.float64) - chosen.astype(np.float32)
    differences /= np.sqrt((differences**2).sum(axis=1).mean())
    folds = seeded_hashes(ids_of(400), 1, "instance-hardness") % FOLDS
    expected = np.empty(400)
    for fold in range(FOLDS):
        others, own = differences[folds != fold], differences[folds == fold]
        oracle = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=1000)
        oracle.fit(np.concatenate([others, -others]), [1] * len(others) + [0] * len(others))
        expected[folds == fold] = oracle.predict_proba(own)[:, 0]

    assert np.allclose(hardness_of(store, context, chosen, rejected), expected, atol=2e-6)


def test_swapped_pairs_are_the_hard_ones(store: ArtifactStore, context: Any) -> None:
    """Most swapped pairs are found, and most of what is above the filter's bound is swapped."""
    from sklearn.metrics import roc_auc_score

    chosen, rejected, wrong = pairs(600, swapped=0.1)

    hardness = hardness_of(store, context, chosen, rejected)

    assert roc_auc_score(wrong, hardness) > 0.97
    dropped = hardness > 0.7
    assert wrong[dropped].mean() > 0.8
    assert wrong[dropped].sum() > 0.6 * wrong.sum()


def test_turning_every_pair_turns_nothing(store: ArtifactStore, context: Any) -> None:
    """What is wanted is only known from the pairs: if all are turned, the other side is wanted."""
    chosen, rejected, _ = pairs(100)

    assert np.allclose(
        hardness_of(store, context, chosen, rejected), hardness_of(store, context, rejected, chosen), atol=1e-5
    )


def test_the_scale_of_the_embeddings_does_not_matter(store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(100)

    large = hardness_of(store, context, 1e6 * chosen, 1e6 * rejected)

    assert np.allclose(hardness_of(store, context, chosen, rejected), large, atol=2e-6)


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        (np.ones((1, 4)), np.zeros((1, 4))),
        (np.ones((7, 4)), np.ones((7, 4))),
        (np.zeros((3, 4)), np.zeros((3, 4))),
    ],
    ids=["one pair, which nothing was learnt for", "two sides alike", "no length"],
)
def test_where_nothing_tells_the_sides_apart_hardness_is_a_half(
    chosen: np.ndarray, rejected: np.ndarray, store: ArtifactStore, context: Any
) -> None:
    assert hardness_of(store, context, chosen, rejected).tolist() == [0.5] * len(chosen)


def test_a_pair_with_equal_sides_is_a_half_among_others_and_is_counted(store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(60)
    rejected[17] = chosen[17]

    values, about = hardness_scores(step_for(store, chosen, rejected), ids_of(60), store, context)

    assert values[17] == 0.5
    assert (values != 0.5).sum() == 59
    assert about["alike"] == 1


def test_few_pairs_of_many_dimensions_have_a_hardness(store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(6, width=384)

    hardness = hardness_of(store, context, chosen, rejected)

    assert np.isfinite(hardness).all()
    assert ((hardness > 0) & (hardness < 1)).all()


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_the_number_of_shards_changes_nothing(
    shards: int, store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atoms, "ATOM_ROWS", 13)
    chosen, rejected, _ = pairs(200, swapped=0.1)
    step = step_for(store, chosen, rejected)

    one, _ = hardness_scores(step, ids_of(200), store, context)
    several, _ = hardness_scores(step, ids_of(200), store, context, LocalShards(shards))

    assert several.tolist() == one.tolist()


def test_another_seed_makes_other_folds(store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(100, swapped=0.1)
    step = step_for(store, chosen, rejected)

    one, _ = hardness_scores(step, ids_of(100), store, context)
    other, _ = hardness_scores(dataclasses.replace(step, seed=2), ids_of(100), store, context)

    assert one.tolist() != other.tolist()
    assert np.corrcoef(one, other)[0, 1] > 0.9


def test_what_was_made_of_what_is_told(store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(20)

    _, about = hardness_scores(step_for(store, chosen, rejected), ids_of(20), store, context)

    assert about == {
        "pool": POOL,
        "score": "INSTANCE_HARDNESS",
        "encoder": "sha256:e",
        "seed": 1,
        "folds": 5,
        "ridge": 1.0,
        "alike": 0,
    }
    assert context.reports[0] == (0, 6, "fits", "")
    assert context.reports[-1] == (6, 6, "fits", "")


def test_a_cancelled_step_stops(store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(20)
    context.cancelled = True

    with pytest.raises(StepCancelled):
        hardness_of(store, context, chosen, rejected)


@pytest.mark.parametrize(
    ("field", "width", "about", "named"),
    [
        ("chosen", 8, {"pool": "sha256:other"}, "chosen_embeddings_digest"),
        ("rejected", 8, {"pool": "sha256:other"}, "rejected_embeddings_digest"),
        ("chosen", 8, {"text_view": "REJECTED"}, "chosen_embeddings_digest"),
        ("rejected", 8, {"encoder": "sha256:other"}, "rejected_embeddings_digest"),
        ("rejected", 9, {}, "rejected_embeddings_digest"),
    ],
    ids=["chosen of another pool", "rejected of another pool", "of another text", "two encoders", "two dimensions"],
)
def test_embeddings_that_do_not_belong_together_are_refused_by_field(
    field: str, width: int, about: dict[str, object], named: str, store: ArtifactStore, context: Any
) -> None:
    chosen, rejected, _ = pairs(20)
    other = put(store, np.ones((20, width)), field.upper(), **about)
    step = dataclasses.replace(step_for(store, chosen, rejected), **{f"{field}_embeddings_digest": other})

    with pytest.raises(FeaturesInvalid) as refused:
        hardness_scores(step, ids_of(20), store, context)
    assert refused.value.metadata["field"] == named


@pytest.mark.parametrize("field", ["chosen_embeddings_digest", "rejected_embeddings_digest"])
def test_missing_embeddings_are_refused_by_field(field: str, store: ArtifactStore, context: Any) -> None:
    chosen, rejected, _ = pairs(20)

    with pytest.raises(FeaturesInvalid) as refused:
        step = dataclasses.replace(step_for(store, chosen, rejected), **{field: ""})
        hardness_scores(step, ids_of(20), store, context)
    assert refused.value.metadata == {"field": field}


def test_pairs_without_a_rejected_text_are_refused(store: ArtifactStore, context: Any) -> None:
    """Its embedding would be that of no text, and the pair would look easy or hard for nothing."""
    chosen, rejected, _ = pairs(20)
    step = dataclasses.replace(
        step_for(store, chosen, rejected), rejected_embeddings_digest=put(store, rejected, "REJECTED", blank=3)
    )

    with pytest.raises(DatasetInvalid) as refused:
        hardness_scores(step, ids_of(20), store, context)
    assert refused.value.metadata == {"rows": "3"}
