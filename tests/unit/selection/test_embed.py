"""Embedding with a real encoder, against the library's own `encode`."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ModelInvalid, PoolTooSmall, StepCancelled, UnsafeModel
from llm_repair.core.selection import TextView
from llm_repair.core.steps import EmbedStep
from llm_repair.selection import embed, encoder
from llm_repair.selection.text_views import view_of

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "in", "rain", "sun", "and", "bird", "sang", "low", "high"]


def pool(count: int, seed: int = 0) -> list[Row]:
    chance = random.Random(seed)

    def sentence(longest: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, longest)))

    return [Row(f"row-{i:03}", prompt=sentence(5), chosen=sentence(3), rejected=sentence(12)) for i in range(count)]


def embedded(
    rows: list[Row], folder: Path, store: ArtifactStore, context: Any, view: TextView = TextView.PROMPT_REJECTED
) -> tuple[np.ndarray, dict[str, Any]]:
    """Runs the step; returns the vectors and about.json."""
    step = EmbedStep(write_rows(store, rows).digest, store.put_tree(folder).digest, view)
    output = embed.run(step, store, context)
    tree = store.materialize(output.outputs["embeddings"].digest)
    about = json.loads((tree / "about.json").read_text())
    assert about["pool"] == step.pool_digest
    assert about["encoder"] == step.encoder_digest
    return np.load(tree / "embeddings.npy"), about


def test_vectors_equal_those_of_the_librarys_own_encode(
    encoder_folder: Path, store: ArtifactStore, context: Any
) -> None:
    from sentence_transformers import SentenceTransformer

    rows = pool(150)
    expected = SentenceTransformer(str(encoder_folder), device="cpu").encode(
        [view_of(row, TextView.PROMPT_REJECTED) for row in rows]
    )

    vectors, about = embedded(rows, encoder_folder, store, context)

    assert vectors.dtype == np.float32
    assert vectors.shape == (150, 32) == (about["rows"], about["dimensions"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)  # as the encoder's last module does
    assert (vectors * expected).sum(axis=1).min() > 0.9999
    others = vectors @ expected.T - 2 * np.eye(150)
    assert np.median(others.max(axis=1)) < 0.9999  # the encoder tells texts apart, so the line above says something


def test_vectors_do_not_depend_on_the_batches(
    encoder_folder: Path, store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pool(60)
    whole, _ = embedded(rows, encoder_folder, store, context)
    shutil.rmtree(context.workdir / "embeddings")

    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 1)  # one text a batch
    single, _ = embedded(rows, encoder_folder, store, context)

    assert np.allclose(whole, single, atol=1e-5)


def test_batches_hold_neighbours_in_length_within_the_limit(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limit 24: of lengths 12 two fit, then 8 and 7 and 7 (3 x 8 = 24), then the rest."""
    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 24)

    batches = list(encoder.Encoder(encoder_folder).batches(np.array([7, 12, 3, 8, 12, 7, 2])))

    assert [batch.tolist() for batch in batches] == [[1, 4], [3, 0, 5], [2, 6]]


def test_truncated_blank_and_repeated_texts_are_counted(
    encoder_folder: Path, store: ArtifactStore, context: Any
) -> None:
    """12 tokens with [CLS] and [SEP]: ten words fit, eleven do not."""
    rows = [
        Row("a", rejected=" ".join(["cat"] * 10)),
        Row("b", rejected=" ".join(["cat"] * 11)),
        Row("c", rejected=" ".join(["cat"] * 11)),
        Row("d", rejected=""),
    ]

    vectors, about = embedded(rows, encoder_folder, store, context, TextView.REJECTED)

    counted = {name: about[name] for name in ("rows", "distinct", "truncated", "blank", "max_tokens", "text_view")}
    assert counted == {
        "rows": 4,
        "distinct": 3,
        "truncated": 2,
        "blank": 1,
        "max_tokens": 12,
        "text_view": "REJECTED",
    }
    assert np.array_equal(vectors[1], vectors[2])
    assert context.tokens == 12 + 12 + 2  # each distinct text once


def test_progress_counts_texts_and_ends_complete(encoder_folder: Path, store: ArtifactStore, context: Any) -> None:
    embedded(pool(30), encoder_folder, store, context)

    main = [(done, total) for done, total, unit, stage in context.reports if unit == "texts" and not stage]
    assert main == sorted(main)
    assert main[-1][0] == main[-1][1]


def test_a_cancelled_step_stops(encoder_folder: Path, store: ArtifactStore, context: Any) -> None:
    context.cancelled = True

    with pytest.raises(StepCancelled):
        embedded(pool(5), encoder_folder, store, context)


def test_an_empty_pool_is_refused(encoder_folder: Path, store: ArtifactStore, context: Any) -> None:
    with pytest.raises(PoolTooSmall):
        embedded([], encoder_folder, store, context)


def broken(encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder_folder, tmp_path / "broken"))


def test_a_folder_that_is_no_encoder_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    folder = broken(encoder_folder, tmp_path)
    (folder / "modules.json").unlink()

    with pytest.raises(ModelInvalid):
        encoder.Encoder(folder)


def test_an_encoder_without_weights_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    folder = broken(encoder_folder, tmp_path)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()

    with pytest.raises(ModelInvalid):
        encoder.Encoder(folder)


@pytest.mark.parametrize("module", ["os.system", "sentence_transformers.models.WordEmbeddings", "custom_model.Pooling"])
def test_a_module_outside_the_list_is_never_imported(encoder_folder: Path, tmp_path: Path, module: str) -> None:
    folder = broken(encoder_folder, tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = module
    (folder / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(UnsafeModel):
        encoder.Encoder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "2_Dense/weights.pt", "modeling.py"])
def test_pickles_and_code_in_the_folder_are_refused(encoder_folder: Path, tmp_path: Path, name: str) -> None:
    folder = broken(encoder_folder, tmp_path)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")

    with pytest.raises(UnsafeModel):
        encoder.Encoder(folder)


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (TextView.PROMPT, "a prompt"),
        (TextView.CHOSEN, " good"),
        (TextView.REJECTED, "bad"),
        (TextView.PROMPT_CHOSEN, "a prompt good"),
        (TextView.PROMPT_REJECTED, "a prompt bad"),
    ],
)
def test_a_view_shows_its_text_and_joins_words_with_one_blank(view: TextView, text: str) -> None:
    assert view_of(Row("a", prompt="a prompt", chosen=" good", rejected="bad"), view) == text
