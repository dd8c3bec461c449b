"""The fused classifiers against transformers' own forward, one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from llm_repair.models.inference.bert_classifier import FusedClassifier, is_plain_classifier

TEXTS = [np.array(ids, dtype=np.int32) for ids in ([0, 9, 11, 2], [0, 8, 3, 2], [0, 2], [0, 31, 32, 33, 34, 2])]
BERT = (BertConfig, BertForSequenceClassification)
ROBERTA = (RobertaConfig, RobertaForSequenceClassification)
XLM_ROBERTA = (XLMRobertaConfig, XLMRobertaForSequenceClassification)


def classifier(make: tuple[type, type], **options: object) -> PreTrainedModel:
    """A classifier of five labels of which every parameter is random."""
    torch.manual_seed(4)
    make_config, make_model = make
    config = make_config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=16, num_labels=5, **options,
    )  # fmt: skip
    made = make_model(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.5)
    return made


@pytest.mark.parametrize("make", [BERT, ROBERTA, XLM_ROBERTA], ids=["BERT", "RoBERTa", "XLM-R"])
def test_logits_equal_those_of_each_text_alone(make: tuple[type, type]) -> None:
    network = classifier(make)

    logits = FusedClassifier(network).logits(TEXTS)

    with torch.inference_mode():
        expected = torch.cat([network(torch.tensor(ids[None], dtype=torch.long)).logits for ids in TEXTS])
    assert is_plain_classifier(network)
    assert logits.shape == (4, 5)
    assert torch.allclose(logits, expected, atol=2e-5)
    assert expected.std(dim=0).max() > 0.02  # a thousand times the tolerance: the logits tell the texts apart


class RelatedToBert(BertForSequenceClassification):
    """May compute anything."""


@pytest.mark.parametrize(
    "network",
    [
        classifier(BERT, hidden_act="relu"),
        RelatedToBert(classifier(BERT).config),
        DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=64, dim=32, hidden_dim=48, n_layers=1, n_heads=4)
        ),
    ],
    ids=["other activation", "subclass", "other architecture"],
)
def test_only_what_is_computed_exactly_is_taken_for_plain(network: PreTrainedModel) -> None:
    assert not is_plain_classifier(network)
