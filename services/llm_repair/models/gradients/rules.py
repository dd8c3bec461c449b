"""Which rule holds for which layer of a model; what has none is named, so that the loop can take its place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from llm_repair.models.gradients.layers import (
    EmbeddingRule,
    MatrixRule,
    NormRule,
    Rule,
    layer_normalised,
    root_mean_square_normalised,
)
from llm_repair.models.training.adapters import TrainableModel

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.


class RuleMissing(Exception):
    """There is no rule for a part of this model; the message names the part."""


def layer_rules(target: TrainableModel, head: nn.Linear) -> Mapping[nn.Module, Rule]:
    """Returns the rule of every layer with trained parameters but the output head, which has a way of its own.

    Raises:
      RuleMissing: a trained parameter belongs to a layer of another kind, or to several layers. Only the input
        embedding and the head may be one.
    """
    embedding = target.model.get_input_embeddings()
    rules: dict[nn.Module, Rule] = {}
    owned: set[int] = {id(parameter) for parameter in head.parameters(recurse=False)}
    for name, layer in target.model.named_modules():
        trained = {part for part, value in layer.named_parameters(recurse=False) if value.requires_grad}
        if layer is head or not trained:
            continue
        parts = {id(getattr(layer, part)) for part in trained}
        if parts & owned and not (layer is embedding and is_tied(target, head)):
            raise RuleMissing(f"{name} shares a parameter with another layer")
        owned |= parts
        rules[layer] = _rule_of(name, layer, frozenset(trained))
    return rules


def is_tied(target: TrainableModel, head: nn.Linear) -> bool:
    """Says whether the input embedding and the head are one trained matrix."""
    embedding = target.model.get_input_embeddings()
    return isinstance(embedding, nn.Embedding) and embedding.weight is head.weight and head.weight.requires_grad


def _rule_of(name: str, layer: nn.Module, trained: frozenset[str]) -> Rule:
    weight, bias = "weight" in trained, "bias" in trained
    kind = type(layer)
    if trained <= {"weight", "bias"}:
        if kind is nn.Linear or kind is Conv1D:
            return MatrixRule(weight, bias)
        if isinstance(layer, nn.LayerNorm) and kind is nn.LayerNorm and len(layer.normalized_shape) == 1:
            return NormRule(layer_normalised(layer), weight, bias)
        if kind.__name__.endswith("RMSNorm") and (eps := _epsilon(layer)) is not None:
            return NormRule(root_mean_square_normalised(eps), weight, bias)
        if isinstance(layer, nn.Embedding) and _is_plain(layer):
            return EmbeddingRule(layer.num_embeddings, layer.padding_idx)
    raise RuleMissing(f"{name} is a {kind.__name__}, which has no rule")


def _epsilon(layer: nn.Module) -> float | None:
    if isinstance(layer, nn.RMSNorm) and layer.eps is None:
        return torch.finfo(torch.float32).eps
    eps = getattr(layer, "variance_epsilon", getattr(layer, "eps", None))
    return eps if isinstance(eps, float) and layer.get_parameter("weight").ndim == 1 else None


def _is_plain(layer: nn.Embedding) -> bool:
    return type(layer) is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
