"""Small real models, judges and a store, made anew for every test that asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import StepCancelled
from llm_repair.core.execution import Json


def byte_tokenizer(**specials: str) -> PreTrainedTokenizerFast:
    """One token per byte, and <eos> as id 0."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<eos>": 0, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", **specials)


def _save_llama(folder: Path, seed: int = 1) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257, hidden_size=128, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def _save_gpt2(folder: Path) -> Path:
    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=257, n_embd=128, n_layer=2, n_head=4, n_positions=128, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def _save_classifier(folder: Path, labels: list[str], **config: object) -> Path:
    torch.manual_seed(3)
    settings = BertConfig(
        vocab_size=257, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, pad_token_id=0, initializer_range=0.5,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}, **config,
    )  # fmt: skip
    BertForSequenceClassification(settings).save_pretrained(folder)
    byte_tokenizer(pad_token="<eos>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def save_classifier(tmp_path: Path) -> Callable[..., Path]:
    """Saves a small BERT classifier with the given labels into a folder."""
    return lambda labels, name="classifier", **config: _save_classifier(tmp_path / name, labels, **config)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'store'}", cache_dir=tmp_path / "cache")


@dataclass
class RecordingContext:
    """A step context that keeps what it is told; it can be cancelled at the n-th look."""

    workdir: Path
    key: str = "0" * 64
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = ()
    cancel_at_look: int | None = None
    looks: int = 0
    tokens: int = 0
    stages: list[str] = field(default_factory=list)
    notes: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if stage not in self.stages:
            self.stages.append(stage)

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append((phrase, fields))

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        self.tokens += tokens

    def raise_if_cancelled(self) -> None:
        self.looks += 1
        if self.cancel_at_look is not None and self.looks >= self.cancel_at_look:
            raise StepCancelled


@pytest.fixture
def new_context(tmp_path: Path) -> Callable[..., RecordingContext]:
    """Makes contexts, each with an empty working folder."""
    count = 0

    def make(**fields: object) -> RecordingContext:
        nonlocal count
        count += 1
        (tmp_path / f"work-{count}").mkdir()
        return RecordingContext(tmp_path / f"work-{count}", **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def put_prompts(store: ArtifactStore) -> Callable[[Mapping[str, str]], str]:
    return lambda texts: write_rows(store, [Row(name, prompt=text) for name, text in texts.items()]).digest


@pytest.fixture
def put_texts(store: ArtifactStore) -> Callable[[Mapping[str, str]], str]:
    return lambda texts: write_rows(store, [Row(name, text=text) for name, text in texts.items()]).digest


@pytest.fixture
def read_lines(store: ArtifactStore) -> Callable[[str, str], list[dict[str, object]]]:
    """Reads a JSON-lines file of a tree."""
    return lambda digest, path: [
        json.loads(line) for line in store.get_bytes(store.entries(digest)[path].digest).splitlines()
    ]
