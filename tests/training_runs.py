"""Runs repair steps of a small model on words: what went in, what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from training_oracle import QuietContext, log_prob
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json, StepOutput
from llm_repair.core.repair import RepairMethod
from llm_repair.core.steps import RepairStep, step_key
from llm_repair.models.loading import load_causal_lm
from llm_repair.trainer import repair

WORDS = [
    "<end>",
    "<unk>",
    "you",
    "are",
    "so",
    "very",
    "kind",
    "mean",
    "good",
    "bad",
    "and",
    "thanks",
    "never",
    "always",
]


@dataclass(frozen=True)
class Repaired:
    """What a repair step left."""

    output: StepOutput
    store: ArtifactStore
    context: QuietContext

    @property
    def summary(self) -> Mapping[str, Json]:
        """The step's account."""
        return self.output.summary

    @property
    def history(self) -> Mapping[str, list[dict[str, Json]]]:
        """The curve: its points under `curve`, the validations under `validations`."""
        return json.loads(self.store.get_bytes(self.output.outputs["curve"].digest))

    @property
    def model(self) -> PreTrainedModel:
        """The repaired model."""
        return load_causal_lm(self.store.materialize(self.output.outputs["model"].digest))


def base_model() -> LlamaForCausalLM:
    """Returns a Llama of 3 layers; small embeddings would leave the first the most sensitive one for good."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=4.0)
    return model


def pairs(count: int = 12) -> list[Row]:
    """Returns pool rows with a prompt, a wanted and an unwanted continuation."""
    prompts = ["you are", "you are so", "you", "and you are"]
    good, bad = ["very kind", "good and kind thanks", "kind"], ["bad", "mean and bad", "very mean never good"]
    return [Row(f"r{i:02}", prompts[i % 4], good[i % 3], bad[(i + 1) % 3]) for i in range(count)]


def texts(count: int = 20) -> list[Row]:
    """Returns utility texts."""
    return [Row(f"u{i:02}", text=" ".join(WORDS[2 + (i * j + i) % 12] for j in range(3, 9))) for i in range(count)]


def repaired(folder: Path, method: RepairMethod, rows: Sequence[Row], *, utility: Sequence[Row] = ()) -> Repaired:
    """Runs a repair of `base_model` on all rows, in a folder of its own."""
    step, store = prepared(folder, method, rows, utility=utility)
    context = QuietContext(folder / "attempt", step_key(step))
    context.workdir.mkdir()
    return Repaired(repair.run(step, store, context), store, context)


def prepared(
    folder: Path, method: RepairMethod, rows: Sequence[Row], *, utility: Sequence[Row] = ()
) -> tuple[RepairStep, ArtifactStore]:
    """Returns a repair of `base_model` on all rows, and the store in a new folder that has what it needs."""
    folder.mkdir()
    base = folder / "base"
    base_model().save_pretrained(base)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(base)
    store = ArtifactStore(f"file://{folder}/store")
    step = RepairStep(
        model_digest=store.put_tree(base).digest,
        pool_digest=write_rows(store, rows).digest,
        selection_digest=store.put_bytes(json.dumps({"ids": [row.id for row in rows]}).encode()).digest,
        method=method,
        seed=1,
        utility_digest=write_rows(store, utility).digest if utility else "",
    )
    return step, store


def ids(text: str) -> list[int]:
    """Returns the token ids of a text of known words."""
    return [WORDS.index(word) for word in text.split()]


def words_log_prob(model: PreTrainedModel, prompt: str, continuation: str) -> Tensor:
    """Returns log p of a continuation of known words, ()."""
    with torch.no_grad():
        return log_prob(model, ids(prompt), ids(continuation))
