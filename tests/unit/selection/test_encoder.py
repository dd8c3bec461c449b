"""The encoder against sentence-transformers itself, and folders that are not what they should be."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_repair.core.errors import ModelInvalid, UnsafeModel
from llm_repair.core.evaluation import WeightFormat
from llm_repair.selection import encoder as encoder_module
from llm_repair.selection import encoder_forwards
from llm_repair.selection.encoder import Encoder

TEXTS = ["the cat sat on a mat", "rain", "", "the dog ran in the sun and the bird sang low and high " * 3, "a dog ran"]
"""Of different lengths, one empty, one longer than the encoder's 12 tokens."""
WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat"]


def embedded(folder: Path, texts: list[str] = TEXTS, **options: Any) -> tuple[np.ndarray, Encoder]:
    encoder = Encoder(folder, **options)
    return encoder.embed([text.payload for text in encoder.prepare(texts)]), encoder


def by_library(folder: Path, texts: list[str] = TEXTS) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(texts)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(axis=1) / norms


@pytest.fixture
def folder(encoder_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder, to be changed."""
    return Path(shutil.copytree(encoder_folder, tmp_path / "folder"))


def rewrite(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def pool_by(folder: Path, *modes: str) -> None:
    rewrite(folder / "1_Pooling" / "config.json", lambda config: {**config, "pooling_mode": list(modes)})


def add_prompt(folder: Path, *, pooled: bool) -> None:
    settings = folder / "config_sentence_transformers.json"
    rewrite(settings, lambda old: {**old, "prompts": {"task": "the bird "}, "default_prompt_name": "task"})
    rewrite(folder / "1_Pooling" / "config.json", lambda config: {**config, "include_prompt": pooled})


def add_dense(folder: Path, width: int = 7, activation: str = "torch.nn.modules.activation.Tanh") -> None:
    from safetensors.torch import save_file

    place = folder / "3_Dense"
    place.mkdir()
    settings = {"in_features": 32, "out_features": width, "bias": True, "activation_function": activation}
    (place / "config.json").write_text(json.dumps(settings))
    torch.manual_seed(1)
    save_file({"linear.weight": torch.randn(width, 32), "linear.bias": torch.randn(width)}, place / "model.safetensors")
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    rewrite(folder / "modules.json", lambda modules: [*modules, dense])


@pytest.mark.parametrize(
    ("change", "forward"),
    [
        (lambda folder: None, "fused"),
        (lambda folder: pool_by(folder, "cls"), "fused"),
        (add_dense, "fused"),
        (lambda folder: add_prompt(folder, pooled=True), "fused"),
        (lambda folder: add_prompt(folder, pooled=False), "library"),
        (lambda folder: pool_by(folder, "max"), "library"),
        (lambda folder: pool_by(folder, "mean", "cls"), "library"),
        (lambda folder: rewrite(folder / "config.json", lambda old: {**old, "hidden_act": "relu"}), "library"),
    ],
    ids=["mean", "cls", "dense", "prompt", "prompt not pooled", "max", "two poolings", "other activation"],
)
def test_vectors_equal_the_librarys_whatever_computes_them(
    folder: Path, change: Callable[[Path], None], forward: str
) -> None:
    change(folder)

    vectors, encoder = embedded(folder)

    assert encoder.forward == forward
    assert np.allclose(vectors, by_library(folder), atol=1e-5)


def test_an_encoder_of_another_architecture_goes_the_librarys_way(tmp_path: Path, encoder_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=21, dim=16, hidden_dim=24, n_layers=1, n_heads=2, max_position_embeddings=12)
    DistilBertModel(config).save_pretrained(tmp_path / "raw")
    AutoTokenizer.from_pretrained(encoder_folder).save_pretrained(tmp_path / "raw")
    body = Transformer(str(tmp_path / "raw"), max_seq_length=12)
    SentenceTransformer(modules=[body, Pooling(16, "mean")], device="cpu").save(str(tmp_path / "distil"))

    vectors, encoder = embedded(tmp_path / "distil")

    assert encoder.forward == "library"
    assert np.allclose(vectors, by_library(tmp_path / "distil"), atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_bf16_matrices_keep_the_direction_of_every_vector(encoder_folder: Path, fused: bool) -> None:
    vectors, encoder = embedded(encoder_folder, weights=WeightFormat.BFLOAT16, fused=fused)

    similarity = cosines(vectors, by_library(encoder_folder))
    assert encoder.forward == ("fused" if fused else "library")
    assert vectors.dtype == np.float32
    assert 0.999 < similarity.min() < 0.9999999  # near, and really another number format


def test_a_fused_forward_that_disagrees_is_not_taken(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As if transformers changed BERT: pooling the first token instead of the mean."""
    monkeypatch.setitem(encoder_forwards._POOLINGS, "mean", encoder_forwards._POOLINGS["cls"])

    with caplog.at_level(logging.WARNING):
        vectors, encoder = embedded(encoder_folder)

    assert encoder.forward == "library"
    assert np.allclose(vectors, by_library(encoder_folder), atol=1e-5)
    assert "disagrees" in caplog.text


def test_tokens_are_counted_with_special_ones_after_truncation(encoder_folder: Path) -> None:
    """[CLS] and [SEP] around words; the encoder takes 12 tokens."""
    prepared = Encoder(encoder_folder).prepare(["", "cat", " ".join(["cat"] * 10), " ".join(["cat"] * 11)])

    assert [(text.tokens, text.is_truncated) for text in prepared] == [(2, False), (3, False), (12, False), (12, True)]


def without(*patterns: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = [file for pattern in patterns for file in folder.glob(pattern)]
        assert found
        for file in found:
            file.unlink()

    return change


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def language_model(folder: Path) -> None:
    """Leaves what a causal language model's folder has: no modules.json, and no pooling."""
    without("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")(folder)
    shutil.rmtree(folder / "1_Pooling")


@pytest.mark.parametrize(
    "change",
    [
        without("modules.json"),
        language_model,
        without("model.safetensors"),
        cut_weights,
        without("config.json"),
        without("tokenizer*"),
        without("1_Pooling/config.json"),
        lambda folder: rewrite(folder / "modules.json", lambda modules: []),
        lambda folder: rewrite(folder / "modules.json", lambda modules: modules[1:]),
        lambda folder: rewrite(folder / "modules.json", lambda modules: modules[:1]),
        lambda folder: rewrite(folder / "config.json", lambda old: {**old, "hidden_size": 48}),
        lambda folder: rewrite(folder / "config.json", lambda old: {**old, "model_type": "no such architecture"}),
        lambda folder: add_dense(folder, width=0),
        lambda folder: (add_dense(folder), (folder / "3_Dense" / "config.json").write_text("[]")),
    ],
    ids=[
        *("no modules", "language model", "no weights", "cut weights", "no configuration", "no tokenizer"),
        *("no pooling configuration", "modules of nothing", "no transformer", "no pooling", "other shapes"),
        *("unknown architecture", "no dimensions", "dense configuration of another kind"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, on a matrix of no rows
def test_a_folder_that_is_no_working_encoder_is_invalid(folder: Path, change: Callable[[Path], object]) -> None:
    change(folder)

    with pytest.raises(ModelInvalid) as refused:
        Encoder(folder)

    assert refused.value.metadata["field"] == "encoder"


@pytest.mark.parametrize("module", ["os.system", "sentence_transformers.models.WordEmbeddings", "custom_model.Pooling"])
def test_a_module_outside_the_list_is_never_imported(folder: Path, module: str) -> None:
    rewrite(folder / "modules.json", lambda modules: [{**modules[0], "type": module}, *modules[1:]])

    with pytest.raises(UnsafeModel):
        Encoder(folder)


@pytest.mark.parametrize("activation", ["os.getcwd", "torch.hub.load", "my_model.Activation"])
def test_an_activation_torch_does_not_have_is_refused_and_not_replaced(folder: Path, activation: str) -> None:
    add_dense(folder, activation=activation)

    with pytest.raises(UnsafeModel) as refused:
        Encoder(folder)

    assert refused.value.metadata["field"] == "activation_function"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "2_Dense/weights.pt", "modeling.py", "vocabulary.pkl"])
def test_pickles_and_code_in_the_folder_are_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")

    with pytest.raises(UnsafeModel):
        Encoder(folder)


@pytest.mark.parametrize("fused", [True, False])
def test_a_text_beyond_the_positions_blames_the_encoder(
    folder: Path, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it takes 400 tokens and has 12 positions; probed by short texts alone it seems to work."""
    rewrite(folder / "sentence_bert_config.json", lambda old: {**old, "max_seq_length": 400})
    monkeypatch.setattr(encoder_module, "_PROBES", ("", "a"))
    encoder = Encoder(folder, fused=fused)

    with pytest.raises(ModelInvalid) as refused:
        encoder.embed([text.payload for text in encoder.prepare(["cat " * 100])])

    assert encoder.forward == ("fused" if fused else "library")
    assert "positions" in refused.value.message
    assert refused.value.metadata["field"] == "encoder"


def test_vectors_of_another_length_are_refused(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(encoder_folder)
    first = encoder_forwards.FusedForward.embed
    monkeypatch.setattr(encoder_forwards.FusedForward, "embed", lambda self, payloads: first(self, payloads)[:, :5])

    with pytest.raises(ModelInvalid) as refused:
        encoder.embed([text.payload for text in encoder.prepare(["cat", "dog"])])

    assert refused.value.metadata == {"field": "encoder", "shape": "2x5", "dimensions": "32"}


@pytest.mark.parametrize("fused", [True, False])
def test_batches_come_back_in_their_order_and_equal_batches_of_one_thread(encoder_folder: Path, fused: bool) -> None:
    encoder = Encoder(encoder_folder, fused=fused)
    batches = [[text.payload] for text in encoder.prepare(WORDS * 3)]
    expected = [encoder.embed(batch) for batch in batches]

    found = list(encoder.embed_all(iter(batches), threads=4))

    assert np.array_equal(np.concatenate(found), np.concatenate(expected))
    assert not np.array_equal(expected[0], expected[1])


def test_no_more_batches_are_read_than_threads_need(encoder_folder: Path) -> None:
    """What is read ahead lies in memory: with two threads four batches, and the one that is asked for."""
    encoder = Encoder(encoder_folder)
    read: list[int] = []

    def batches() -> Iterator[list[bytes]]:
        for number, text in enumerate(encoder.prepare(WORDS)):
            read.append(number)
            yield [text.payload]

    embedded = encoder.embed_all(batches(), threads=2)
    next(embedded)
    embedded.close()

    assert read == [0, 1, 2, 3, 4]


def test_an_encoder_that_fails_amid_batches_says_so(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(encoder_folder)
    batches = [[text.payload] for text in encoder.prepare(WORDS)]
    first = encoder_forwards.FusedForward.embed

    def failing(self: encoder_forwards.FusedForward, payloads: Sequence[bytes]) -> torch.Tensor:
        if payloads == batches[3]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return first(self, payloads)

    monkeypatch.setattr(encoder_forwards.FusedForward, "embed", failing)

    with pytest.raises(ModelInvalid):
        list(encoder.embed_all(batches, threads=2))
