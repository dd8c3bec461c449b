# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""The models that are trained, each with its samples."""

from __future__ import annotations

import copy
import enum
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from bench.models import demo_model
from bench.trainer.samples import demo_pairs, made_up_pairs, within
from llm_repair.models.loading import load_causal_lm
from llm_repair.models.training.batches import TokenisedSample


class Size(enum.Enum):
    """A model by its number of parameters."""

    TINY = "0.2m"
    """A random Llama, to see whether anything runs."""
    SMALL = "10m"
    """A random Llama."""
    DEMO = "135m"
    """The demo's SmolLM2."""


QUICK = (Size.TINY,)
FULL = (Size.SMALL, Size.DEMO)
_TINY_VOCABULARY = 512
_SMALL_VOCABULARY = 8192


@dataclass(frozen=True)
class Subject:
    """A model and pairs for it."""

    size: Size
    base: PreTrainedModel
    """Never trained itself."""
    pairs: Sequence[TokenisedSample]

    def model(self) -> PreTrainedModel:
        """Returns a copy to train."""
        return copy.deepcopy(self.base)


def subject(size: Size, *, pairs: int) -> Subject:
    """Returns a model with as many pairs as are asked for; a few less where a continuation came out empty."""
    match size:
        case Size.TINY:
            return Subject(size, model_of(size), made_up_pairs(pairs, _TINY_VOCABULARY))
        case Size.SMALL:
            return Subject(size, model_of(size), within(demo_pairs(pairs), _SMALL_VOCABULARY))
        case Size.DEMO:
            return Subject(size, model_of(size), demo_pairs(pairs))


def model_of(size: Size) -> PreTrainedModel:
    """Loads the model or makes it."""
    match size:
        case Size.TINY:
            return _llama(vocabulary=_TINY_VOCABULARY, width=64, layers=4)
        case Size.SMALL:
            return _llama(vocabulary=_SMALL_VOCABULARY, width=256, layers=11)
        case Size.DEMO:
            return load_causal_lm(demo_model())


def _llama(*, vocabulary: int, width: int, layers: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=width * 8 // 3 // 16 * 16,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            num_key_value_heads=width // 64,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
        return LlamaForCausalLM(config).eval()
