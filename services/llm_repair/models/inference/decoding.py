# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""The seam between networks and what is done with them, and the network of any Hugging Face causal model.

Generation and scoring are written once against `Network`; `TransformersNetwork` runs a model's own forward,
`llama.FusedLlama` is the fast one for plain Llama shapes.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from llm_repair.core.errors import ModelInvalid

_MOVING_ROTATIONS: Final = ("dynamic", "longrope")
"""Rotary embeddings whose frequencies the model changes by the length of what it just reads."""


class Decoding(Protocol):
    """Continuations under way: the keys and values of all tokens so far."""

    def step(self, tokens: Tensor) -> Tensor:
        """Appends one token to every row (rows,) and returns the logits (rows, vocabulary) of the next, float32."""
        ...


class Network(Protocol):
    """A causal language model that can continue prompts and read texts."""

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        ...

    @property
    def context_tokens(self) -> int:
        """Longest input."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether several threads may read at once, and had better."""
        ...

    def prefill(self, prompts: Sequence[Sequence[int]], draws: int, room: int) -> tuple[Decoding, Tensor]:
        """Reads the prompts and makes room for `draws` continuations of at most `room` tokens of each.

        Returns:
          The decoding of prompts x draws rows, draws of a prompt together, and the logits (prompts, vocabulary) of
          the first new token, float32.
        """
        ...

    def read(self, inputs: Sequence[Sequence[int]]) -> Tensor:
        """Returns the final state (tokens, width) after every token of every input, concatenated."""
        ...

    def logits(self, states: Tensor, vocabulary: slice = slice(None)) -> Tensor:
        """Returns the logits (tokens, vocabulary), float32 and new, of states from `read`, or a stretch of them."""
        ...


class TransformersNetwork:
    """Runs any causal model of transformers by its own forward, prompts padded on the left.

    Left padding keeps the real tokens of a row adjacent, which models with sliding windows need; position ids
    count real tokens only, so a row's logits do not depend on the padding.
    """

    def __init__(self, model: PreTrainedModel, context_tokens: int) -> None:
        self._model: Any = model.eval()
        self._context_tokens = context_tokens
        self._device: torch.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._keeps_logits = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        self._head = self._plain_head()
        self._has_moving_rotation = any(
            kind in str(getattr(part, "rope_type", "")) for part in model.modules() for kind in _MOVING_ROTATIONS
        )

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return self._vocabulary

    @property
    def context_tokens(self) -> int:
        """Longest input."""
        return self._context_tokens

    @property
    def parallel(self) -> bool:
        """Whether it runs on a processor; forwards of transformers keep to themselves, but for those named below."""
        return self._device.type == "cpu" and not self._has_moving_rotation

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]], draws: int, room: int) -> tuple[Decoding, Tensor]:
        """Reads the prompts once for all their draws; see `Network`."""
        ids, mask = _padded(prompts, left=True, device=self._device)
        out = self._forward(ids, mask, use_cache=True, **self._keeps_logits)
        cache = out.past_key_values
        if not isinstance(cache, DynamicCache):
            raise ModelInvalid(f"models with a {type(cache).__name__} cannot be sampled from here")
        if draws > 1:
            cache.batch_repeat_interleave(draws)
        return _CachedRows(self, cache, mask.repeat_interleave(draws, dim=0)), out.logits[:, -1].float()

    @torch.inference_mode()
    def append(self, tokens: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        """Runs one token per row (rows,) after those in the cache; `mask` (rows, slots) includes the new one."""
        out = self._forward(tokens.unsqueeze(1), mask, use_cache=True, past_key_values=cache)
        return out.logits[:, -1].float()

    @torch.inference_mode()
    def read(self, inputs: Sequence[Sequence[int]]) -> Tensor:
        """Returns hidden states where `logits` can finish them, else the logits themselves; see `Network`."""
        ids, mask = _padded(inputs, left=False, device=self._device)
        if self._head is not None:
            out = self._forward(ids, mask, network=self._model.base_model, use_cache=False).last_hidden_state
        else:
            out = self._forward(ids, mask, use_cache=False).logits
        return out[mask.bool()]

    @torch.inference_mode()
    def logits(self, states: Tensor, vocabulary: slice = slice(None)) -> Tensor:
        """Returns the logits of states from `read`; see `Network`."""
        if self._head is None:
            return states[:, vocabulary].to(torch.float32, copy=True)
        bias = None if self._head.bias is None else self._head.bias[vocabulary]
        return functional.linear(states, self._head.weight[vocabulary], bias).float()

    def _forward(self, ids: Tensor, mask: Tensor, *, network: Any = None, **options: Any) -> Any:
        if self._takes_positions:
            positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -ids.shape[1] :]
        return (network or self._model)(input_ids=ids, attention_mask=mask, **options)

    @torch.inference_mode()
    def _plain_head(self) -> Any | None:
        """Returns the output layer if the model applies nothing else to its last hidden state (no cap, no scale)."""
        head: Any = self._model.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            return None
        ids = torch.arange(min(4, self._vocabulary), device=self._device).unsqueeze(0)
        whole = self._model(input_ids=ids, use_cache=False).logits
        by_parts = head(self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
        same = by_parts.shape == whole.shape and torch.allclose(by_parts, whole, rtol=1e-4, atol=1e-5)
        return head if same else None


class _CachedRows:
    """Decoding by the model's own cache; the mask (rows, slots) says which slots hold real tokens."""

    def __init__(self, network: TransformersNetwork, cache: DynamicCache, mask: Tensor) -> None:
        self._network, self._cache, self._mask = network, cache, mask

    def step(self, tokens: Tensor) -> Tensor:
        """Appends one token to every row; see `Decoding`."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._network.append(tokens, self._mask, self._cache)


def _padded(rows: Sequence[Sequence[int]], *, left: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row, dtype=torch.long)
        mask[index, place] = 1
    return ids.to(device), mask.to(device)
