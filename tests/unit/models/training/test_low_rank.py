"""Adapters that add in place compute what peft's do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from llm_repair.core.repair import LoraParameters
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.low_rank import add_in_place

IDS = torch.arange(1, 17).view(2, 8)


def llama() -> PreTrainedModel:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, attention_bias=True, **sizes))


def gpt2() -> PreTrainedModel:
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=16, **ids))


each = pytest.mark.parametrize("make", [llama, gpt2])


def pair(make: Callable[[], PreTrainedModel], *, dropout: float = 0.0) -> tuple[TrainableModel, TrainableModel]:
    """Returns one model twice, whose adapters do something: as peft has them, and adding in place."""
    torch.manual_seed(0)
    base = make()
    two = [
        make_trainable(copy.deepcopy(base), LoraParameters(rank=3, dropout=dropout), seed=1),
        make_trainable(copy.deepcopy(base), LoraParameters(rank=3, dropout=dropout), seed=1),
    ]
    for target in two:
        torch.manual_seed(2)
        for name, parameter in target.parameters.items():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    add_in_place(two[1].model)
    return two[0], two[1]


def gradients(target: TrainableModel) -> Mapping[str, Tensor]:
    target.model(IDS, labels=IDS).loss.backward()
    return {name: parameter.grad for name, parameter in target.parameters.items() if parameter.grad is not None}


@each
def test_logits_and_gradients_are_those_of_peft(make: Callable[[], PreTrainedModel]) -> None:
    theirs, ours = pair(make)

    assert torch.allclose(theirs.model(IDS).logits, ours.model(IDS).logits, rtol=1e-6, atol=1e-6)
    expected, found = gradients(theirs), gradients(ours)
    assert found.keys() == expected.keys() == ours.parameters.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-5, atol=1e-6), name


@each
def test_in_bf16_they_are_as_near_to_the_exact_logits(make: Callable[[], PreTrainedModel]) -> None:
    exact = pair(make)[0].model(IDS).logits.detach()
    distances: list[float] = []
    for target in pair(make):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = target.model(IDS).logits.detach()
        assert logits.dtype == torch.bfloat16
        distances.append(float((logits - exact).norm() / exact.norm()))

    assert 0 < distances[1] < min(1.1 * distances[0], 0.05)


def test_dropout_is_that_of_the_adapters() -> None:
    theirs, ours = pair(llama, dropout=0.5)
    found: list[Tensor] = []
    for target in (theirs, ours, ours):
        for module in target.adapter_dropouts:
            module.train(mode=len(found) < 2)
        torch.manual_seed(3)
        found.append(target.model(IDS).logits)

    assert torch.allclose(found[0], found[1], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found[1], found[2], rtol=1e-2, atol=1e-2)


def test_merging_gives_what_was_trained() -> None:
    _, ours = pair(llama)
    before = ours.model(IDS).logits

    merged = ours.merged()

    assert not any(isinstance(module, LoraLayer) for module in merged.modules())
    assert torch.allclose(merged(IDS).logits, before, rtol=1e-5, atol=1e-6)


def test_no_more_is_kept_for_the_backward_pass() -> None:
    kept: list[int] = []
    for target in pair(llama):
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            loss = target.model(IDS, labels=IDS).loss
        kept.append(sum(sizes.values()))
        del loss

    assert kept[1] <= kept[0]
