"""Which parameters are trained, and that merged adapters are what was trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)

from llm_repair.core.errors import ModelInvalid
from llm_repair.core.repair import FullParameters, LoraParameters
from llm_repair.models.training.adapters import make_trainable, transformer_layers

IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, **SIZES, **IDS))


def pythia() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=20, **SIZES, **IDS))


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=3, n_head=2, n_positions=16, **IDS))


each = pytest.mark.parametrize(
    ("make", "stack", "linear_layers"),
    [
        (llama, "model.layers", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        (pythia, "gpt_neox.layers", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
        (gpt2, "transformer.h", {"c_attn", "c_proj", "c_fc"}),
    ],
)


@each
def test_layers_are_found(make: Callable[[], PreTrainedModel], stack: str, linear_layers: set[str]) -> None:
    model = make()

    assert transformer_layers(model) is model.get_submodule(stack)


@each
def test_top_layers_train_the_last_layers_and_nothing_else(
    make: Callable[[], PreTrainedModel], stack: str, linear_layers: set[str]
) -> None:
    model = make()

    trained = set(make_trainable(model, FullParameters(top_layers=2), seed=0).parameters)

    assert trained == {n for n, _ in model.named_parameters() if n.startswith((f"{stack}.1.", f"{stack}.2."))}


def test_no_backward_pass_runs_below_the_trained_layers() -> None:
    model = llama()
    make_trainable(model, FullParameters(top_layers=1), seed=0)

    states = model(torch.tensor([[1, 2, 3]]), output_hidden_states=True).hidden_states

    assert [state.requires_grad for state in states] == [False, False, False, True]


def test_all_parameters_train_by_default() -> None:
    model = llama()

    assert len(make_trainable(model, FullParameters(), seed=0).parameters) == len(list(model.parameters()))


def test_more_top_layers_than_there_are_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="3 layers"):
        make_trainable(llama(), FullParameters(top_layers=4), seed=0)


@each
def test_adapters_sit_on_every_linear_layer_inside_the_blocks_only(
    make: Callable[[], PreTrainedModel], stack: str, linear_layers: set[str]
) -> None:
    trained = make_trainable(make(), LoraParameters(rank=2), seed=0).parameters

    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == linear_layers
    assert all(name.startswith(stack) for name in trained)


@each
def test_fresh_adapters_change_nothing_and_trained_ones_survive_the_merge(
    make: Callable[[], PreTrainedModel], stack: str, linear_layers: set[str]
) -> None:
    ids = torch.tensor([[1, 2, 3, 4]])
    base = make().eval()(ids).logits
    names = [name for name, _ in make().named_parameters()]

    target = make_trainable(make(), LoraParameters(rank=2, alpha=4.0), seed=0)
    fresh = target.model(ids).logits
    generator = torch.Generator().manual_seed(1)
    target.load({name: torch.randn(value.shape, generator=generator) for name, value in target.parameters.items()})
    trained = target.model(ids).logits
    merged = target.merged()

    torch.testing.assert_close(fresh, base)
    assert (trained - base).abs().max() > 1e-2
    torch.testing.assert_close(merged(ids).logits, trained, atol=1e-4, rtol=1e-4)
    assert [name for name, _ in merged.named_parameters()] == names


def test_layers_that_take_no_adapters_are_refused() -> None:
    """peft refuses the projections of state-space models, whose kernels read the weights themselves."""
    model = MambaForCausalLM(MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, state_size=4, **IDS))

    with pytest.raises(ModelInvalid, match="mamba") as refused:
        make_trainable(model, LoraParameters(rank=2), seed=0)

    assert refused.value.metadata == {"model_type": "mamba"}


def test_start_values_of_adapters_depend_on_the_seed_alone() -> None:
    def start(seed: int) -> torch.Tensor:
        return next(iter(make_trainable(llama(), LoraParameters(rank=2), seed=seed).parameters.values()))

    one = start(1)
    torch.rand(7)

    assert torch.equal(one, start(1))
    assert not torch.equal(one, start(2))


def test_global_random_state_is_left_as_it_was() -> None:
    model = llama()
    before = torch.get_rng_state()

    make_trainable(model, LoraParameters(rank=2), seed=1)

    assert torch.equal(torch.get_rng_state(), before)
