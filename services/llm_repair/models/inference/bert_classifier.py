# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""Sequence classifiers of BERT and RoBERTa shape on the fast forward: the first token, tanh, one row a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    BertForSequenceClassification,
    PreTrainedModel,
    RobertaForSequenceClassification,
    XLMRobertaForSequenceClassification,
)

from llm_repair.models.inference.bert import FusedBert, is_plain_bert

_ROBERTA: Final = (RobertaForSequenceClassification, XLMRobertaForSequenceClassification)


def is_plain_classifier(model: PreTrainedModel) -> bool:
    """Tells whether `FusedClassifier` computes this model: a plain BERT or RoBERTa under the usual head."""
    network: Any = model
    return type(model) in (BertForSequenceClassification, *_ROBERTA) and is_plain_bert(network.base_model)


class FusedClassifier:
    """A classifier of texts without padding; several threads may use it at once."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Copies the weights of a model that `is_plain_classifier`, in fp32."""
        network: Any = model
        head = network.classifier
        roberta = isinstance(model, _ROBERTA)
        self._bert = FusedBert(network.base_model, torch.float32)
        self._first = _detached(head.dense if roberta else network.bert.pooler.dense)
        self._last = _detached(head.out_proj if roberta else head)

    @torch.inference_mode()
    def logits(self, inputs: Sequence[npt.NDArray[np.int32]]) -> Tensor:
        """Returns (texts, labels), float32, of one batch; see `FusedBert.read`."""
        pooled = torch.tanh(functional.linear(self._bert.read_firsts(inputs), *self._first))
        return functional.linear(pooled, *self._last)


def _detached(module: Any) -> tuple[Tensor, Tensor]:
    return module.weight.detach().float(), module.bias.detach().float()
