"""The embedding step with a real encoder, against the library's own `encode`."""

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import FeaturesInvalid, PoolTooSmall, StepCancelled
from llm_repair.core.execution import StepOutput
from llm_repair.core.selection import TextView
from llm_repair.core.steps import EmbedStep
from llm_repair.selection import embed, encoder
from llm_repair.selection.shards import ONE_SHARD, LocalShards, Shards
from llm_repair.selection.text_views import view_of

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "in", "rain", "sun", "and", "bird", "sang", "low", "high"]
_ATTEMPTS = itertools.count()


def pool(count: int, seed: int = 0) -> list[Row]:
    chance = random.Random(seed)

    def sentence(longest: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, longest)))

    return [Row(f"row-{i:03}", prompt=sentence(5), chosen=sentence(3), rejected=sentence(12)) for i in range(count)]


def attempt(
    rows: list[Row],
    folder: Path,
    store: ArtifactStore,
    context: Any,
    view: TextView = TextView.PROMPT_REJECTED,
    shards: Shards = ONE_SHARD,
) -> StepOutput:
    """Runs the step in a folder of its own, as every attempt has one."""
    context.workdir = context.workdir / f"attempt-{next(_ATTEMPTS)}"
    context.workdir.mkdir()
    step = EmbedStep(write_rows(store, rows).digest, store.put_tree(folder).digest, view)
    return embed.run(step, store, context, shards)


def embedded(
    rows: list[Row], folder: Path, store: ArtifactStore, context: Any, view: TextView = TextView.PROMPT_REJECTED
) -> tuple[np.ndarray, dict[str, Any]]:
    """Runs the step; returns the vectors and about.json."""
    return opened(attempt(rows, folder, store, context, view), store)


def opened(output: StepOutput, store: ArtifactStore) -> tuple[np.ndarray, dict[str, Any]]:
    tree = store.materialize(output.outputs["embeddings"].digest)
    return np.load(tree / "embeddings.npy"), json.loads((tree / "about.json").read_text())


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

    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 1)  # one text a batch
    single, _ = embedded(rows, encoder_folder, store, context)

    assert np.allclose(whole, single, atol=1e-5)


@pytest.mark.parametrize("shards", [2, 7])
def test_shards_change_no_bit(
    shards: int, encoder_folder: Path, store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 64)  # some twenty batches

    whole = attempt(pool(120), encoder_folder, store, context)
    parted = attempt(pool(120), encoder_folder, store, context, shards=LocalShards(shards))

    assert parted.outputs == whole.outputs
    assert opened(whole, store)[0].shape == (120, 32)


def test_the_order_of_the_pool_changes_no_bit(
    encoder_folder: Path, store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same texts under other ids, so that they are read in the opposite order; and some of them twice."""
    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 64)
    rows = pool(60)
    turned = [Row(f"row-{59 - at:03}", row.prompt, row.chosen, row.rejected) for at, row in enumerate(rows)]
    again = [Row(f"zzz-{at}", row.prompt, row.chosen, row.rejected) for at, row in enumerate(rows[:9])]

    vectors, _ = embedded(rows, encoder_folder, store, context)
    backwards, about = embedded([*turned, *again], encoder_folder, store, context)

    assert np.array_equal(backwards[59::-1], vectors)
    assert np.array_equal(backwards[60:], vectors[:9])
    assert about["distinct"] == len({view_of(row, TextView.PROMPT_REJECTED) for row in rows})


def test_two_runs_leave_the_same_bytes_and_seconds_in_the_summary_only(
    encoder_folder: Path, store: ArtifactStore, context: Any
) -> None:
    first = attempt(pool(30), encoder_folder, store, context)
    second = attempt(pool(30), encoder_folder, store, context)

    _, about = opened(first, store)
    assert first.outputs == second.outputs
    assert first.summary["seconds"] != second.summary["seconds"]
    measured = {"seconds", "embedding_seconds", "tokens_per_second", "peak_memory_bytes", "forward"}
    assert set(first.summary) - set(about) == measured
    assert about["weights"] == "FLOAT32"
    assert first.summary["tokens_per_second"] == about["tokens"] / first.summary["embedding_seconds"]
    assert first.summary["seconds"] > first.summary["embedding_seconds"] > 0


def test_nothing_but_the_embeddings_is_left_in_the_working_folder(
    encoder_folder: Path, store: ArtifactStore, context: Any
) -> None:
    attempt(pool(30), encoder_folder, store, context, shards=LocalShards(3))

    left = sorted(file.relative_to(context.workdir).as_posix() for file in context.workdir.rglob("*") if file.is_file())
    assert left == ["embeddings/about.json", "embeddings/embeddings.npy"]


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


def test_a_step_cancelled_between_batches_stops(
    encoder_folder: Path, store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 64)
    report = context.progress

    def cancel_after_the_first(done: float, total: float, unit: str, *, stage: str = "") -> None:
        report(done, total, unit, stage=stage)
        context.cancelled = context.cancelled or not stage

    monkeypatch.setattr(context, "progress", cancel_after_the_first)

    with pytest.raises(StepCancelled):
        attempt(pool(60), encoder_folder, store, context)

    assert len([report for report in context.reports if not report[3]]) == 1


def changed(encoder_folder: Path, target: Path, word: str) -> Path:
    """Copies the encoder with a NaN in the embedding of one word."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(encoder_folder, target))
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][5 + WORDS.index(word), 3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("forward", ["fused", "library"])
def test_a_vector_that_is_no_number_is_refused_by_its_row(
    forward: str, encoder_folder: Path, store: ArtifactStore, context: Any, tmp_path: Path
) -> None:
    folder = changed(encoder_folder, tmp_path / "changed", "bird")
    if forward == "library":
        (folder / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 32, "pooling_mode": "max"}')
    rows = [Row("a", rejected="the cat ran"), Row("b", rejected="a bird sang"), Row("c", rejected="a dog sat on it")]

    with pytest.raises(FeaturesInvalid) as refused:
        attempt(rows, folder, store, context, TextView.REJECTED)

    assert refused.value.metadata == {"id": "b"}
    assert "bird" not in refused.value.message
    assert not list(context.workdir.glob("embeddings/*"))


def test_a_text_without_tokens_is_refused_by_its_row(
    encoder_folder: Path, store: ArtifactStore, context: Any, tmp_path: Path
) -> None:
    """The tokenizer of this encoder adds no special tokens, so that an empty text is nothing at all."""
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "bare"))
    settings = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**settings, "post_processor": None}))
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**described, "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    rows = [Row("a", rejected="the cat ran"), Row("b", prompt="a dog"), Row("c", prompt="a bird", rejected="sang")]

    whole, _ = embedded(rows[:1], folder, store, context, TextView.REJECTED)
    with pytest.raises(FeaturesInvalid) as refused:
        attempt(rows, folder, store, context, TextView.REJECTED)

    assert np.isfinite(whole).all()
    assert refused.value.metadata == {"id": "b"}
    assert context.tokens == 3  # of the first attempt


def test_threads_change_no_bit_and_are_as_many_as_before_afterwards(
    encoder_folder: Path, store: ArtifactStore, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "CPU_BATCH_TOKENS", 64)
    before = torch.get_num_threads()
    try:
        outputs = []
        for context.threads in (1, 3):
            outputs.append(attempt(pool(120), encoder_folder, store, context).outputs)
            assert torch.get_num_threads() == context.threads
    finally:
        torch.set_num_threads(before)

    assert outputs[0] == outputs[1]


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
