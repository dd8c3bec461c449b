# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""A fast forward of plain Llama shapes for sampling many continuations of short prompts, and for reading texts.

Same mathematics as `LlamaForCausalLM`, other bookkeeping: one matrix for q, k and v and one for gate and up; no
computation on padding; keys and values of a prompt kept once for all its draws (the two parts of the attention
meet in one softmax, Athiwaratkun et al., ICML 2024); the residual stream, norms, rotary embedding and softmax
in fp32 whatever the format of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedModel

from llm_repair.models.inference.products import Product, product, product_dtype


def is_plain_llama(model: PreTrainedModel) -> bool:
    """Tells whether `FusedLlama` computes this model: exactly Llama, default rotary embedding, no biases."""
    config: Any = model.config
    return (
        type(model) is LlamaForCausalLM
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and config.rope_parameters.get("rope_type") == "default"
        and config.rope_parameters.get("partial_rotary_factor", 1.0) == 1.0
        and getattr(config, "quantization_config", None) is None
    )


@dataclass(frozen=True)
class _Layer:
    attention_norm: Tensor
    qkv: Product
    out: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product


@dataclass(frozen=True)
class _Shape:
    groups: int
    """Key-value heads."""
    queries: int
    """Query heads per key-value head."""
    head: int
    """Width of a head."""
    eps: float

    @property
    def splits(self) -> list[int]:
        """Widths of q, k and v in the fused projection."""
        return [self.groups * self.queries * self.head, self.groups * self.head, self.groups * self.head]


class _Rows:
    """Decoding of prompts x draws rows.

    Per layer: keys (prompts, groups, longest, head) of the prompts, shared by their draws, and of the
    continuations (prompts, groups, draws, room, head); values alike.
    """

    def __init__(self, network: FusedLlama, lengths: Tensor, draws: int, room: int) -> None:
        self._network = network
        self.prompts, self.draws, self.room = len(lengths), draws, room
        longest = int(lengths.max())
        slots = torch.arange(longest, device=lengths.device)
        self.mask = torch.where(slots < lengths.unsqueeze(1), 0.0, float("-inf")).view(-1, 1, 1, longest)
        self.positions = lengths.repeat_interleave(draws)
        self.appended = 0
        self.prompt_kv: list[tuple[Tensor, Tensor]] = []
        self.own_kv: list[tuple[Tensor, Tensor]] = []

    def step(self, tokens: Tensor) -> Tensor:
        """Appends one token to every row; see `Decoding`."""
        return self._network.append(self, tokens)


class FusedLlama:
    """A Llama with fused projections; see the module."""

    def __init__(self, model: LlamaForCausalLM, dtype: torch.dtype) -> None:
        """Copies the weights in `dtype` (norms stay fp32) and keeps nothing else of `model`."""
        config: Any = model.config
        self._weights = dtype
        self._dtype = product_dtype(dtype, model.device, sum(weight.numel() for weight in model.parameters()))
        self._device = model.device
        self._shape = _Shape(
            groups=config.num_key_value_heads,
            queries=config.num_attention_heads // config.num_key_value_heads,
            head=config.head_dim,
            eps=config.rms_norm_eps,
        )
        self._context_tokens = int(config.max_position_embeddings)
        body: Any = model.model
        self._embedding = self._rounded(body.embed_tokens.weight)
        tied = model.lm_head.weight is body.embed_tokens.weight
        self._head = self._embedding if tied else self._rounded(model.lm_head.weight)
        self._norm: Tensor = body.norm.weight.detach().float()
        self._layers = [self._fused(layer) for layer in body.layers]
        exponents = torch.arange(0, self._shape.head, 2, dtype=torch.float32) / self._shape.head
        self._frequencies = (1.0 / config.rope_parameters["rope_theta"] ** exponents).to(self._device)

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return self._head.shape[0]

    @property
    def context_tokens(self) -> int:
        """Longest input."""
        return self._context_tokens

    @property
    def parallel(self) -> bool:
        """Whether it runs on a processor; a reading changes nothing of it."""
        return self._device.type == "cpu"

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]], draws: int, room: int) -> tuple[_Rows, Tensor]:
        """Reads the prompts once for all their draws; see `Network`."""
        batch = _Ragged(prompts, self._device)
        rows = _Rows(self, batch.lengths, draws, room)
        states = self._body(batch, rows)
        shape = (rows.prompts, self._shape.groups, draws, room, self._shape.head)
        for keys, _ in rows.prompt_kv:
            rows.own_kv.append((keys.new_zeros(shape), keys.new_zeros(shape)))
        return rows, self.logits(states[batch.lengths.cumsum(0) - 1])

    @torch.inference_mode()
    def append(self, state: _Rows, tokens: Tensor) -> Tensor:
        """Appends one token to every row (rows,) and returns the logits of the next."""
        x = functional.embedding(tokens, self._embedding).float()
        rotation = self._rotation(state.positions)
        for index, layer in enumerate(self._layers):
            q, k, v = self._project(layer, x, rotation)
            x = x + layer.out(self._attend_shared(state, index, q, k, v))
            x = x + self._mlp(layer, x)
        state.appended += 1
        state.positions = state.positions + 1
        return self.logits(x)

    @torch.inference_mode()
    def read(self, inputs: Sequence[Sequence[int]]) -> Tensor:
        """Returns the hidden state before the last norm after every token; see `Network`."""
        return self._body(_Ragged(inputs, self._device), None)

    @torch.inference_mode()
    def logits(self, states: Tensor, vocabulary: slice = slice(None)) -> Tensor:
        """Returns the logits of states from `read`; see `Network`."""
        normed = self._normed(states, self._norm).to(self._dtype)
        return functional.linear(normed, self._head[vocabulary]).float()

    def _fused(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        qkv = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return _Layer(
            attention_norm=layer.input_layernorm.weight.detach().float(),
            qkv=product(self._rounded(qkv)),
            out=product(self._rounded(attention.o_proj.weight)),
            mlp_norm=layer.post_attention_layernorm.weight.detach().float(),
            gate_up=product(self._rounded(gate_up)),
            down=product(self._rounded(mlp.down_proj.weight)),
        )

    def _rounded(self, weight: Tensor) -> Tensor:
        """Returns the numbers that the format of the weights leaves, in the one that they are multiplied in."""
        return weight.detach().to(self._weights).to(self._dtype)

    def _body(self, batch: _Ragged, rows: _Rows | None) -> Tensor:
        x = functional.embedding(batch.ids, self._embedding).float()
        rotation = self._rotation(batch.positions)
        for layer in self._layers:
            q, k, v = self._project(layer, x, rotation)
            queries = batch.padded(q.flatten(1, 2)).transpose(1, 2)
            keys, values = batch.padded(k).transpose(1, 2), batch.padded(v).transpose(1, 2)
            if rows is not None:
                rows.prompt_kv.append((keys.contiguous(), values.contiguous()))
            # Padding is on the right, so the causal mask alone keeps it away from every real token.
            mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
            x = x + layer.out(batch.ragged(mixed.transpose(1, 2)).flatten(1))
            x = x + self._mlp(layer, x)
        return x

    def _project(self, layer: _Layer, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rotated q (tokens, groups, queries, head), rotated k and v (tokens, groups, head), float32."""
        shape = self._shape
        qkv = layer.qkv(self._normed(x, layer.attention_norm))
        q, k, v = qkv.split(shape.splits, dim=-1)
        q = _rotated(q.view(-1, shape.groups * shape.queries, shape.head), rotation)
        k = _rotated(k.view(-1, shape.groups, shape.head), rotation)
        return q.view(-1, shape.groups, shape.queries, shape.head), k, v.view(-1, shape.groups, shape.head)

    def _attend_shared(self, rows: _Rows, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Returns the attention (rows, width) of one new token over the prompt's keys and the row's own."""
        p, d, g, r, h = rows.prompts, rows.draws, self._shape.groups, self._shape.queries, self._shape.head
        prompt_keys, prompt_values = rows.prompt_kv[index]
        own_keys, own_values = rows.own_kv[index]
        now = rows.appended
        own_keys[:, :, :, now] = k.view(p, d, g, h).transpose(1, 2)
        own_values[:, :, :, now] = v.view(p, d, g, h).transpose(1, 2)
        keys, values = own_keys[:, :, :, : now + 1], own_values[:, :, :, : now + 1]
        queries = (q * h**-0.5).view(p, d, g, r, h).transpose(1, 2).contiguous()
        on_prompt = queries.view(p, g, d * r, h) @ prompt_keys.transpose(-1, -2) + rows.mask
        on_own = (queries @ keys.transpose(-1, -2)).view(p, g, d * r, now + 1)
        weights = torch.cat([on_prompt, on_own], dim=-1).softmax(dim=-1)
        longest = prompt_keys.shape[2]
        mixed = (weights[..., :longest] @ prompt_values).view(p, g, d, r, h)
        mixed = mixed + weights[..., longest:].reshape(p, g, d, r, now + 1) @ values
        return mixed.transpose(1, 2).reshape(p * d, g * r * h)

    def _mlp(self, layer: _Layer, x: Tensor) -> Tensor:
        gate, up = layer.gate_up(self._normed(x, layer.mlp_norm)).chunk(2, dim=-1)
        return layer.down(functional.silu(gate) * up)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weight, self._shape.eps)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions.unsqueeze(1).float() * self._frequencies
        return angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)


class _Ragged:
    """Inputs of unequal length as one run of tokens, padded on the right only where attention needs it."""

    def __init__(self, inputs: Sequence[Sequence[int]], device: torch.device) -> None:
        lengths = torch.tensor([len(row) for row in inputs], device=device)
        self.lengths = lengths
        self.ids = torch.tensor([token for row in inputs for token in row], device=device)
        self._size = (len(inputs), int(lengths.max()))
        starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        self.positions = torch.arange(len(self.ids), device=device) - starts
        row = torch.arange(len(inputs), device=device).repeat_interleave(lengths)
        self._places = row * self._size[1] + self.positions
        self._dense = len(self.ids) == self._size[0] * self._size[1]

    def padded(self, tokens: Tensor) -> Tensor:
        """Spreads (tokens, ...) to (inputs, longest, ...), zero where there is no token."""
        if self._dense:
            return tokens.view(*self._size, *tokens.shape[1:])
        spread = tokens.new_zeros(self._size[0] * self._size[1], *tokens.shape[1:])
        spread[self._places] = tokens
        return spread.view(*self._size, *tokens.shape[1:])

    def ragged(self, padded: Tensor) -> Tensor:
        """Undoes `padded`."""
        flat = padded.flatten(0, 1)
        return flat if self._dense else flat[self._places]


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
