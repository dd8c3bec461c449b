"""The fused BERT against transformers' own forward, one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from llm_repair.models.inference import bert
from llm_repair.models.inference.bert import FusedBert, PackedStates, Run, is_plain_bert

PADDING = 1
TEXTS = [
    np.array(ids, dtype=np.int32)
    for ids in ([5, 9, PADDING, 3], [8, 8, 2, 40], [7], [30, 31, PADDING, PADDING, 34, 35], [6])
]
"""Two of them hold the padding token as if its name stood in the text."""
ROBERTA = (RobertaConfig, RobertaModel)
XLM_ROBERTA = (XLMRobertaConfig, XLMRobertaModel)


def model(make: tuple[type, type] = (BertConfig, BertModel), **options: object) -> PreTrainedModel:
    """A BERT of which every parameter is random: fresh biases are 0 and fresh norms 1, which hides their absence."""
    torch.manual_seed(3)
    make_config, make_model = make
    config = make_config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=16, pad_token_id=PADDING, **options,
    )  # fmt: skip
    made = make_model(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.1, 0.3)
    return made


@torch.inference_mode()
def states_of(network: PreTrainedModel) -> torch.Tensor:
    return torch.cat([network(torch.tensor(ids[None], dtype=torch.long)).last_hidden_state[0] for ids in TEXTS])


@pytest.mark.parametrize("packed", [True, False])
def test_states_equal_those_of_each_text_alone(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:
        monkeypatch.setattr(bert, "_packs", lambda weight: False)
    network = model()

    read = FusedBert(network, torch.float32).read(TEXTS)

    assert torch.allclose(read.states, states_of(network), atol=1e-5)
    assert list(read.runs) == [Run(2, 4), Run(1, 1), Run(1, 6), Run(1, 1)]


@pytest.mark.parametrize("make", [ROBERTA, XLM_ROBERTA], ids=["RoBERTa", "XLM-R"])
def test_positions_of_roberta_start_behind_its_padding_token_which_has_none(make: tuple[type, type]) -> None:
    network = model(make)

    read = FusedBert(network, torch.float32).read(TEXTS)

    assert torch.allclose(read.states, states_of(network), atol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
def test_first_states_alone_equal_those_among_all(layers: int) -> None:
    network = model(ROBERTA)
    network.encoder.layer = network.encoder.layer[:layers]
    fused = FusedBert(network, torch.float32)

    firsts = fused.read_firsts(TEXTS)

    assert firsts.shape == (5, 32)
    assert torch.allclose(firsts, fused.read(TEXTS).firsts(), atol=1e-5)


def test_bf16_matrices_leave_the_states_in_fp32_and_near() -> None:
    network = model()
    expected = states_of(network)

    states = FusedBert(network, torch.bfloat16).read(TEXTS).states

    error = (states - expected).norm(dim=1) / expected.norm(dim=1)
    assert states.dtype == torch.float32
    assert 1e-4 < error.max() < 0.05  # eight bits of mantissa, 2^-9 a product: neither fp32 nor noise


def test_pooling_is_by_text() -> None:
    """Two texts of two tokens, then one of one: means (2, 3), (6, 7), (8, 9) of rows (1, 2), (3, 4), ..."""
    states = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [8.0, 9.0]])

    packed = PackedStates(states, [Run(2, 2), Run(1, 1)])

    assert packed.means().tolist() == [[2.0, 3.0], [6.0, 7.0], [8.0, 9.0]]
    assert packed.firsts().tolist() == [[1.0, 2.0], [5.0, 6.0], [8.0, 9.0]]


class RelatedToBert(BertModel):
    """May compute anything."""


@pytest.mark.parametrize(
    ("network", "plain"),
    [
        (model(), True),
        (model(ROBERTA), True),
        (model(XLM_ROBERTA), True),
        (model(ROBERTA, is_decoder=True), False),
        (model(hidden_act="gelu_new"), False),
        (model(is_decoder=True), False),
        (RelatedToBert(model().config), False),
        (DistilBertModel(DistilBertConfig(vocab_size=64, dim=32, hidden_dim=48, n_layers=1, n_heads=4)), False),
    ],
    ids=[
        "BERT",
        "RoBERTa",
        "XLM-R",
        "RoBERTa as decoder",
        "other activation",
        "decoder",
        "subclass",
        "other architecture",
    ],
)
def test_only_what_is_computed_exactly_is_taken_for_plain(network: PreTrainedModel, plain: bool) -> None:
    assert is_plain_bert(network) is plain
