# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models and torch's operators are untyped.
"""A fast forward of plain BERT and RoBERTa shapes for reading many short texts.

Same mathematics as `BertModel` and `RobertaModel` (XLM-R too), other bookkeeping: the texts of a batch lie one after
the other and nothing is ever padded, since attention goes over runs of texts of equal length; one matrix for q, k and
v; on CPU the matrices are packed once for oneDNN, which adds bias and GELU within the product; where only the first
token of a text is asked for, the last layer computes no other; the residual stream, norms and pooling in fp32 whatever
the format of the weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertModel, PreTrainedModel, RobertaModel, XLMRobertaModel

_PACKED_FOR_ROWS = 2048
"""Rows a product is packed for; another number works, only slower."""
_ROBERTA = (RobertaModel, XLMRobertaModel)
"""They count positions from behind the id of the padding token, and give that token none of its own."""


def is_plain_bert(model: PreTrainedModel) -> bool:
    """Tells whether `FusedBert` computes this model: BERT, RoBERTa or XLM-R as an encoder, exact GELU, no other."""
    config: Any = model.config
    return (
        type(model) in (BertModel, *_ROBERTA)
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and not config.add_cross_attention
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and getattr(config, "quantization_config", None) is None
    )


@dataclass(frozen=True)
class Run:
    """Neighbouring texts of one length."""

    texts: int
    length: int
    """Tokens of each."""

    @property
    def tokens(self) -> int:
        """Tokens of all."""
        return self.texts * self.length


@dataclass(frozen=True)
class PackedStates:
    """The last hidden states of texts that lie one after the other."""

    states: Tensor
    """(tokens, width), float32."""
    runs: Sequence[Run]

    def means(self) -> Tensor:
        """Returns the mean over the tokens of each text, (texts, width)."""
        return torch.cat([part.mean(dim=1) for part in self._by_text()])

    def firsts(self) -> Tensor:
        """Returns the state of the first token of each text, (texts, width)."""
        return torch.cat([part[:, 0] for part in self._by_text()])

    def _by_text(self) -> list[Tensor]:
        parts = self.states.split([run.tokens for run in self.runs])
        return [part.view(run.texts, run.length, -1) for run, part in zip(self.runs, parts, strict=True)]


class FusedBert:
    """A BERT with fused projections and no padding; see the module."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        """Copies the matrices in `dtype` (embeddings, norms and biases of fp32 stay so) and drops the pooler.

        Args:
          model: One that `is_plain_bert`.
          dtype: Of the matrices.
        """
        config: Any = model.config
        body: Any = model
        self._dtype = dtype
        self._device = model.device
        self._heads = int(config.num_attention_heads)
        self._padding_id = int(config.pad_token_id) if isinstance(model, _ROBERTA) else None
        embeddings = body.embeddings
        self._words: Tensor = embeddings.word_embeddings.weight.detach().float()
        # A text is one segment, so the segment's embedding is a constant.
        segment = embeddings.token_type_embeddings.weight[0]
        self._positions: Tensor = (embeddings.position_embeddings.weight + segment).detach().float()
        self._norm = _Norm(embeddings.LayerNorm)
        self._layers = [self._fused(layer) for layer in body.encoder.layer]

    @torch.inference_mode()
    def read(self, inputs: Sequence[npt.NDArray[np.int32]]) -> PackedStates:
        """Reads texts, each by at least one token id; fastest where neighbours have equal length."""
        embedded = self._embed(inputs)
        return PackedStates(self._through(self._layers, embedded), embedded.runs)

    @torch.inference_mode()
    def read_firsts(self, inputs: Sequence[npt.NDArray[np.int32]]) -> Tensor:
        """Returns `read(inputs).firsts()`, (texts, width), for less: in the last layer no other token is computed."""
        embedded = self._embed(inputs)
        last = self._layers[-1]
        states = PackedStates(self._through(self._layers[:-1], embedded), embedded.runs)
        mixed = self._attend(last.qkv(states.states.to(self._dtype)), states.runs, queries=1)
        return self._after_attention(last, states.firsts(), mixed)

    def _embed(self, inputs: Sequence[npt.NDArray[np.int32]]) -> PackedStates:
        runs = [Run(len(list(same)), length) for length, same in itertools.groupby(len(ids) for ids in inputs)]
        ids = torch.from_numpy(np.concatenate(inputs)).to(self._device)
        positions = torch.from_numpy(np.concatenate([self._places(each) for each in inputs])).to(self._device)
        x = self._norm(functional.embedding(ids, self._words) + functional.embedding(positions, self._positions))
        return PackedStates(x, runs)

    def _places(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Returns the rows of the position embedding for the tokens of one text."""
        if self._padding_id is None:
            return np.arange(len(ids), dtype=np.int32)
        # The padding token can stand within a text: who writes its name gets its id.
        counted = ids != self._padding_id
        return (self._padding_id + counted.cumsum() * counted).astype(np.int32)

    def _through(self, layers: Sequence[_Layer], embedded: PackedStates) -> Tensor:
        x = embedded.states
        for layer in layers:
            x = self._after_attention(layer, x, self._attend(layer.qkv(x.to(self._dtype)), embedded.runs))
        return x

    def _after_attention(self, layer: _Layer, x: Tensor, mixed: Tensor) -> Tensor:
        x = layer.attention_norm(x + layer.out(mixed))
        inner = layer.up(x.to(self._dtype), gelu=True)
        return layer.mlp_norm(x + layer.down(inner))

    def _attend(self, qkv: Tensor, runs: Sequence[Run], queries: int | None = None) -> Tensor:
        """Returns (tokens, width) from the projections (tokens, 3 * width); of each text's first `queries` tokens."""
        mixed: list[Tensor] = []
        for run, part in zip(runs, qkv.split([run.tokens for run in runs]), strict=True):
            heads = part.view(run.texts, run.length, 3, self._heads, -1)
            q, k, v = heads.permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(q[:, :, :queries], k, v)
            mixed.append(attended.transpose(1, 2).flatten(2).flatten(0, 1))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _fused(self, layer: Any) -> _Layer:
        attention, output = layer.attention.self, layer.attention.output
        projections = (attention.query, attention.key, attention.value)
        return _Layer(
            qkv=self._product(
                torch.cat([one.weight for one in projections]), torch.cat([one.bias for one in projections])
            ),
            out=self._product(output.dense.weight, output.dense.bias),
            attention_norm=_Norm(output.LayerNorm),
            up=self._product(layer.intermediate.dense.weight, layer.intermediate.dense.bias),
            down=self._product(layer.output.dense.weight, layer.output.dense.bias),
            mlp_norm=_Norm(layer.output.LayerNorm),
        )

    def _product(self, weight: Tensor, bias: Tensor) -> _Product:
        weight, bias = weight.detach().to(self._dtype), bias.detach().to(self._dtype)
        return _PackedProduct(weight, bias) if _packs(weight) else _PlainProduct(weight, bias)


class _Product(Protocol):
    """x W^T + b, then GELU if asked for."""

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor: ...


class _PlainProduct:
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        product = functional.linear(x, self._weight, self._bias)
        return functional.gelu(product) if gelu else product


class _PackedProduct:
    """By oneDNN, in the layout its kernels want; what torch's own compiler calls for frozen weights."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _PACKED_FOR_ROWS)
        self._bias = bias

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        after = "gelu" if gelu else "none"
        # "none" as the algorithm of GELU is the exact one.
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, after, [], "none")


class _Norm:
    def __init__(self, module: Any) -> None:
        self._weight, self._bias = module.weight.detach().float(), module.bias.detach().float()
        self._eps = float(module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (x.shape[-1],), self._weight, self._bias, self._eps)


@dataclass(frozen=True)
class _Layer:
    qkv: _Product
    out: _Product
    attention_norm: _Norm
    up: _Product
    down: _Product
    mlp_norm: _Norm


def _packs(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
