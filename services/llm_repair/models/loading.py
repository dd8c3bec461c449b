# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' loaders are untyped.
"""Loads models and tokenizers from local folders: safetensors only, no remote code, no hub, no network."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ModelInvalid
from llm_repair.core.evaluation import WeightFormat
from llm_repair.models.inference.decoding import Network, TransformersNetwork
from llm_repair.models.inference.llama import FusedLlama, is_plain_llama
from llm_repair.models.tokenisation import Tokenisation, tokenisation

_DTYPES = {WeightFormat.FLOAT32: torch.float32, WeightFormat.BFLOAT16: torch.bfloat16}


@dataclass(frozen=True)
class LanguageModel:
    """A loaded network with its tokenisation, ready to generate and score."""

    network: Network
    tokens: Tokenisation


def load_causal_lm(
    folder: Path, *, weights: WeightFormat = WeightFormat.FLOAT32, device: torch.device | None = None
) -> PreTrainedModel:
    """Loads a causal language model from a standard folder, in evaluation mode.

    Raises:
      ModelInvalid: the folder is incomplete, or its architecture is not known to transformers itself.
    """
    # A bar per loaded tensor has no place in a worker's log.
    transformers_logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=_DTYPES[weights]
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelInvalid("the folder does not load as a causal language model of safetensors") from error
    return model.to(device or torch.device("cpu")).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a standard folder.

    Raises:
      ModelInvalid: there is none, or it needs code of its own.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelInvalid("the folder has no tokenizer that loads without code of its own") from error


def load_config(folder: Path) -> Any:
    """Reads the configuration of a model folder.

    Raises:
      ModelInvalid: it is missing or of an architecture transformers does not know.
    """
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelInvalid("the folder has no configuration that transformers knows") from error


def context_tokens(config: Any) -> int:
    """Returns the longest input a model of this configuration takes."""
    text = config.get_text_config()
    for field in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(text, field, None)
        if isinstance(value, int) and value > 0:
            return value
    raise ModelInvalid("the model's configuration does not say how long its context is")


def stop_ids(folder: Path, config: Any) -> frozenset[int]:
    """Returns the ids that end a text according to the folder's generation settings, else its configuration."""
    eos = config.get_text_config().eos_token_id
    if (folder / "generation_config.json").exists():
        settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
        eos = eos if settings.eos_token_id is None else settings.eos_token_id
    return frozenset([eos] if isinstance(eos, int) else eos or [])


def load_language_model(
    folder: Path, *, weights: WeightFormat, device: torch.device | None = None, fused: bool = True
) -> LanguageModel:
    """Loads the fastest network there is for the model, or transformers' own with `fused=False` (the oracle)."""
    tokenizer = load_tokenizer(folder)
    # Fused bf16 weights are rounded from fp32 matrix by matrix, so that norms stay exact.
    model: Any = load_causal_lm(folder, weights=WeightFormat.FLOAT32 if fused else weights, device=device)
    tokens = tokenisation(tokenizer, stop_ids(folder, model.config))
    if fused and is_plain_llama(model):
        return LanguageModel(FusedLlama(model, _DTYPES[weights]), tokens)
    return LanguageModel(TransformersNetwork(model.to(_DTYPES[weights]), context_tokens(model.config)), tokens)


@dataclass(frozen=True)
class _Loaded:
    digest: str
    weights: WeightFormat
    model: LanguageModel


class WarmModel:
    """Keeps the last model loaded, so that a worker's next step on it starts at once.

    Only one: the old model is dropped before the new one is read, since two may not fit.
    """

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    def language_model(self, store: ArtifactStore, digest: str, weights: WeightFormat) -> LanguageModel:
        """Returns the model of this digest in this format, from memory if it is the last one loaded."""
        if self._loaded is None or not self.holds(digest, weights):
            self.release()
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            model = load_language_model(store.materialize(digest), weights=weights, device=device)
            self._loaded = _Loaded(digest, weights, model)
        return self._loaded.model

    def holds(self, digest: str, weights: WeightFormat) -> bool:
        """Tells whether this model is the last one loaded."""
        return self._loaded is not None and (self._loaded.digest, self._loaded.weights) == (digest, weights)

    def release(self) -> None:
        """Drops the model and gives its memory back."""
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


WARM = WarmModel()
"""The one of this worker process."""
