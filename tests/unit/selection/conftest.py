"""Real but tiny: an artifact folder, a step context, and a sentence-transformers encoder made on the spot."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import StepCancelled
from llm_repair.core.execution import Json

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "in", "rain", "sun", "and", "bird", "sang", "low", "high"]


@dataclass
class RecordingContext:
    """Keeps what a step reported."""

    workdir: Path
    key: str = "0" * 64
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = ("file",)
    reports: list[tuple[float, float, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tokens: int = 0
    cancelled: bool = False

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        self.reports.append((done, total, unit, stage))

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append(phrase)

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        self.tokens += tokens

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise StepCancelled()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'store'}")


@pytest.fixture
def context(tmp_path: Path) -> RecordingContext:
    workdir = tmp_path / "work"
    workdir.mkdir()
    return RecordingContext(workdir)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A BERT of two layers with random weights, mean pooling and normalisation; sees 12 tokens of a text."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    bert, vocabulary = folder / "bert", folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=12,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(bert)
    BertTokenizerFast(vocab=str(vocabulary), model_max_length=12).save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=12)
    SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="mean"), Normalize()], device="cpu").save(
        str(folder / "encoder")
    )
    yield folder / "encoder"
