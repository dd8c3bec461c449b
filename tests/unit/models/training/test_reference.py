"""The reference model is the model before training, to the bit, for the price of the trained parameters alone."""

from __future__ import annotations

import copy

import pytest
import torch
from gradient_models import made, samples_of
from transformers import PreTrainedModel

from llm_repair.core.repair import FullParameters, LoraParameters, Trainable
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.reference import ReferenceModel

SAMPLES = samples_of(2)


def log_probs_of(model: PreTrainedModel, *, half: bool = False) -> LogProbs:
    return LogProbs(model, SAMPLES, prompt_in_loss=False, half=half)


def train_a_little(target: TrainableModel) -> None:
    """Moves every trained parameter, as an optimizer does."""
    optimizer = torch.optim.AdamW(target.parameters.values(), lr=0.05)
    scores, _ = log_probs_of(target.model).of(SAMPLES)
    scores.sum().backward()
    optimizer.step()


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("shape", ["gpt2", "gpt_neo", "llama"])
@pytest.mark.parametrize(
    "trainable", [FullParameters(), FullParameters(top_layers=1), LoraParameters(rank=2)], ids=["full", "top", "lora"]
)
def test_reference_equals_a_frozen_copy_to_the_bit(trainable: Trainable, shape: str, tied: bool, half: bool) -> None:
    model = made(shape, tied=tied)
    frozen = log_probs_of(copy.deepcopy(model), half=half)
    target = make_trainable(model, trainable, seed=0)
    policy = log_probs_of(target.model, half=half)
    reference = ReferenceModel(target, policy)
    train_a_little(target)

    with torch.no_grad():
        before, moved = frozen.of(SAMPLES)[0], policy.of(SAMPLES)[0]
        logits = frozen.logits(SAMPLES)[0]

    assert not torch.equal(before, moved)
    assert torch.equal(reference.of(SAMPLES)[0], before)
    assert torch.equal(reference.logits(SAMPLES), logits)


def test_pass_through_the_reference_leaves_the_model_as_it_is() -> None:
    target = make_trainable(made("llama"), FullParameters(), seed=0)
    policy = log_probs_of(target.model)
    reference = ReferenceModel(target, policy)
    train_a_little(target)
    weights = {name: (value.data_ptr(), value.detach().clone()) for name, value in target.parameters.items()}

    scores = reference.of(SAMPLES)[0]

    assert not scores.requires_grad
    for name, value in target.parameters.items():
        assert value.data_ptr() == weights[name][0]
        assert torch.equal(value, weights[name][1])


def test_reference_keeps_the_trained_parameters_only() -> None:
    """The top one of two layers: half of the weights of the layers, none of the embeddings."""
    target = make_trainable(made("llama"), FullParameters(top_layers=1), seed=0)

    reference = ReferenceModel(target, log_probs_of(target.model))

    kept = sum(value.numel() for value in reference._weights.values())  # type: ignore[attr-defined]
    assert kept == sum(value.numel() for value in target.model.model.layers[1].parameters())
