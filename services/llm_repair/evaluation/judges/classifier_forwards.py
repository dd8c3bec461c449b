# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models and tokenizers are untyped.
"""How token ids become logits: by a forward without padding for BERT and RoBERTa shapes, else by the library's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from llm_repair.models.inference.bert_classifier import FusedClassifier, is_plain_classifier

_LOG = logging.getLogger(__name__)

_FUSED_TOKENS: Final = 2048
"""Tokens a batch. A product is as fast with 500 rows as with many; more rows would leave the caches."""
_PADDED_TOKENS: Final = 4096
"""The same with padding."""
_ACCELERATOR_TOKENS: Final = 131_072
_AGREEMENT: Final = 1e-3
"""Largest difference of two logits of a probe, beside one thousandth of their size."""


class Forward(Protocol):
    """What turns the token ids of a batch of texts into logits; several threads may use it at once."""

    @property
    def name(self) -> str:
        """`fused` or `library`."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens that a batch should have at most, each text counted as long as the longest."""
        ...

    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Returns (texts, outputs), float32; each text has at least one token."""
        ...


def chosen_forward(model: Any, tokenizer: Any, probes: Sequence[Sequence[int]]) -> Forward:
    """Returns the fast forward if there is one that agrees with the library's on the probes, else the library's."""
    library = _LibraryForward(model, tokenizer)
    if not is_plain_classifier(model):
        return library
    fused = _FusedForward(model)
    expected = torch.cat([library.logits([ids]) for ids in probes])
    if torch.allclose(fused.logits(probes), expected, rtol=_AGREEMENT, atol=_AGREEMENT):
        return fused
    _LOG.warning("the fused forward disagrees with the library's, which is taken")
    return library


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yields places of texts that have tokens, longest first, neighbours in length together, within the budget."""
    ordered = sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place])
    start = 0
    while start < len(ordered):
        size = max(1, batch_tokens // lengths[ordered[start]])
        yield ordered[start : start + size]
        start += size


class _FusedForward:
    name = "fused"

    def __init__(self, model: Any) -> None:
        self._classifier = FusedClassifier(model)
        self.batch_tokens = _FUSED_TOKENS if model.device.type == "cpu" else _ACCELERATOR_TOKENS

    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return self._classifier.logits([np.array(text, dtype=np.int32) for text in ids])


class _LibraryForward:
    """Pads a batch to its longest text; one text at a time where the tokenizer has nothing to pad with."""

    name = "library"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        padded = _PADDED_TOKENS if model.device.type == "cpu" else _ACCELERATOR_TOKENS
        self.batch_tokens = padded if tokenizer.pad_token is not None else 1

    @torch.inference_mode()
    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        if len(ids) == 1:
            return self._model(input_ids=torch.tensor([list(ids[0])], device=self._model.device)).logits.float()
        inputs = self._tokenizer.pad({"input_ids": [list(text) for text in ids]}, return_tensors="pt")
        return self._model(**inputs.to(self._model.device)).logits.float()
