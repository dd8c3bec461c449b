"""What tests of training are made of: a context, a model with a local window, log-probabilities by the plain path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import GPTNeoConfig, GPTNeoForCausalLM, PreTrainedModel

from llm_repair.core.execution import Json


@dataclass
class QuietContext:
    """A step context that keeps what it is told."""

    workdir: Path = Path()
    key: str = "0" * 64
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = ()
    notes: list[tuple[str, dict[str, Json]]] = field(default_factory=list)

    def progress(
        self, done: float, total: float, unit: str, *, stage: str = "", measures: Mapping[str, float] | None = None
    ) -> None:
        pass

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append((phrase, fields))

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        pass

    def raise_if_cancelled(self) -> None:
        pass


def gpt_neo(*, window: int, context: int = 256) -> PreTrainedModel:
    """Returns a model whose second layer has a local window; `gradient_models` has one whose window is 4 tokens."""
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=40,
        hidden_size=16,
        num_layers=2,
        attention_types=[[["global", "local"], 1]],
        num_heads=2,
        window_size=window,
        max_position_embeddings=context,
        initializer_range=0.3,
    )
    return GPTNeoForCausalLM(config).eval()


def token_log_probs(model: PreTrainedModel, prompt: Sequence[int], continuation: Sequence[int]) -> Tensor:
    """Returns log-probabilities at each place of a continuation, (tokens, vocab): one text, every logit, no padding."""
    logits = model(torch.tensor([[*prompt, *continuation]])).logits[0]
    return logits[len(prompt) - 1 : -1].float().log_softmax(-1)


def log_prob(model: PreTrainedModel, prompt: Sequence[int], continuation: Sequence[int]) -> Tensor:
    """Returns log p of a continuation, ()."""
    rows = token_log_probs(model, prompt, continuation)
    return rows[torch.arange(len(continuation)), torch.tensor(continuation)].sum()
