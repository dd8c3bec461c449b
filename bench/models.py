# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""What benchmarks run on: tiny random models made on the spot; the demo's models and prompts, imported by reference."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.importing import import_dataset, import_model
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json, StepContext, StepOutput, StepResult, Usage
from llm_repair.core.references import DatasetKind, DatasetRef, FieldMap, ModelRef, ModelRole
from llm_repair.core.steps import ImportDatasetStep, ImportModelStep, step_key

ROOT = Path(__file__).parents[1]
STORE = ROOT / "build" / "bench" / "store"
_SCHEMES = ("pypi",)

S = TypeVar("S", ImportModelStep, ImportDatasetStep)
Import: TypeAlias = Callable[[S, ArtifactStore, StepContext, ReferenceResolver], StepOutput]

_TEXT = """
the a of and to in is was for on with as by at from this that it they we you people city river music water history
school world north south early small large first second new old green blue house garden light paper letter number
"""
WORDS = _TEXT.split()


def make_tiny_llama(folder: Path, *, heads: int = 8) -> None:
    """Makes a random Llama of 2 million parameters over a vocabulary of words; a head is 128 / heads wide."""
    transformers_logging.disable_progress_bar()
    tokenizer = save_word_tokenizer(folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def save_word_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Saves a tokenizer of words that knows neither padding nor an end of text."""
    vocabulary = {word: index for index, word in enumerate([*WORDS, *(f"w{index}" for index in range(2000))])}
    core = Tokenizer(models.WordLevel({**vocabulary, "<unk>": len(vocabulary)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_tiny_encoder(folder: Path) -> None:
    """Makes a random BERT of 0.4 million parameters over a vocabulary of words, with mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    transformers_logging.disable_progress_bar()
    raw = folder.with_name("raw_encoder")
    raw.mkdir()
    (raw / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=384,
        max_position_embeddings=128,
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(raw)
    BertTokenizer(vocab=str(raw / "vocab.txt"), model_max_length=128).save_pretrained(raw)
    modules: Any = [Transformer(str(raw), max_seq_length=128), Pooling(96, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))


def demo_model() -> Path:
    """Returns the folder of the demo's model; the first time it is fetched and converted (a minute)."""
    reference = _demo()["model"]["reference"]
    store, resolver = _store()
    step = ImportModelStep(ModelRef(reference), resolver.resolve(reference).digest, ModelRole.CAUSAL_LM)
    return store.materialize(_done(step, import_model, store, resolver).outputs["model"].digest)


def demo_encoder() -> Path:
    """Returns the folder of the demo's encoder, all-MiniLM-L6-v2; fetched the first time."""
    reference = _demo()["encoder"]["reference"]
    store, resolver = _store()
    step = ImportModelStep(ModelRef(reference), resolver.resolve(reference).digest, ModelRole.ENCODER)
    return store.materialize(_done(step, import_model, store, resolver).outputs["model"].digest)


def demo_prompts(count: int) -> list[Row]:
    """Returns so many of the demo's prompts, those with the smallest hashes, by id; fetched the first time."""
    source = _demo()["self_generated_pool"]["prompts"]
    store, resolver = _store()
    reference = DatasetRef(source["reference"], fields=FieldMap(**source["fields"]), max_rows=count)
    step = ImportDatasetStep(reference, resolver.resolve(reference.reference).digest, DatasetKind.PROMPTS)
    return read_rows(store, _done(step, import_dataset, store, resolver).outputs["dataset"].digest)


def _demo() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docs" / "demo.yaml").read_text(encoding="utf-8"))


def _store() -> tuple[ArtifactStore, ReferenceResolver]:
    STORE.mkdir(parents=True, exist_ok=True)
    store = ArtifactStore(STORE.as_uri())
    return store, ReferenceResolver((), _SCHEMES, store)


def _done(step: S, run: Import[S], store: ArtifactStore, resolver: ReferenceResolver) -> StepResult:
    """Returns the result of an import, from the store if it was made before."""
    key = step_key(step)
    done = store.get_result(key)
    if done is not None:
        return done
    with tempfile.TemporaryDirectory(dir=STORE.parent) as workdir:
        output = run(step, store, QuietContext(key, Path(workdir)), resolver)
    return store.commit_result(StepResult(key, step.kind, output.outputs, output.summary, Usage(), {}))


@dataclass(frozen=True)
class QuietContext:
    """A step's surroundings without anybody who watches."""

    key: str
    workdir: Path
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = _SCHEMES

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        """Tells nobody."""

    def note(self, phrase: str, **fields: Json) -> None:
        """Tells nobody."""

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        """Keeps no account."""

    def raise_if_cancelled(self) -> None:
        """Is never cancelled."""
