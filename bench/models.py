# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""Models that benchmarks run: a random Llama made on the spot, and the demo's, imported once by its reference."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from llm_repair.artifacts.importing import import_model
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json, StepResult, Usage
from llm_repair.core.references import ModelRef, ModelRole
from llm_repair.core.steps import ImportModelStep, step_key

ROOT = Path(__file__).parents[1]
STORE = ROOT / "build" / "bench" / "store"
_SCHEMES = ("pypi",)

_TEXT = """
the a of and to in is was for on with as by at from this that it they we you people city river music water history
school world north south early small large first second new old green blue house garden light paper letter number
"""
WORDS = _TEXT.split()


def make_tiny_llama(folder: Path) -> None:
    """Makes a random Llama of 2 million parameters over a vocabulary of words."""
    transformers_logging.disable_progress_bar()
    vocabulary = {word: index for index, word in enumerate([*WORDS, *(f"w{index}" for index in range(2000))])}
    core = Tokenizer(models.WordLevel({**vocabulary, "<unk>": len(vocabulary)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def demo_model() -> Path:
    """Returns the folder of the demo's model; the first time it is fetched and converted (a minute)."""
    reference = yaml.safe_load((ROOT / "docs" / "demo.yaml").read_text(encoding="utf-8"))["model"]["reference"]
    STORE.mkdir(parents=True, exist_ok=True)
    store = ArtifactStore(STORE.as_uri())
    resolver = ReferenceResolver((), _SCHEMES, store)
    step = ImportModelStep(ModelRef(reference), resolver.resolve(reference).digest, ModelRole.CAUSAL_LM)
    key = step_key(step)
    done = store.get_result(key)
    if done is None:
        with tempfile.TemporaryDirectory(dir=STORE.parent) as workdir:
            output = import_model(step, store, _Quiet(key, Path(workdir)), resolver)
        done = store.commit_result(StepResult(key, step.kind, output.outputs, output.summary, Usage(), {}))
    return store.materialize(done.outputs["model"].digest)


@dataclass(frozen=True)
class _Quiet:
    """A step's surroundings without anybody who watches."""

    key: str
    workdir: Path
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = _SCHEMES

    def progress(self, done: float, total: float, unit: str, *, stage: str = "") -> None:
        """Tells nobody."""

    def note(self, phrase: str, **fields: Json) -> None:
        """Tells nobody."""

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        """Keeps no account."""

    def raise_if_cancelled(self) -> None:
        """Is never cancelled."""
