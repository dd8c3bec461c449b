"""The networks against transformers' own forward, without padding, one row at a time."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llm_repair.models.inference.decoding import Network, TransformersNetwork
from llm_repair.models.inference.llama import FusedLlama, is_plain_llama

PROMPTS = [[5, 9, 11, 3, 8, 2, 40], [7], [30, 31, 32, 33]]
CONTINUATIONS = torch.tensor([[4, 6, 8], [10, 12, 14], [1, 2, 3], [60, 50, 40], [9, 9, 9], [0, 63, 5]])


def llama(*, tied: bool, groups: int = 2, **options: object) -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=groups, max_position_embeddings=64, tie_word_embeddings=tied, initializer_range=0.3,
        **options,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2() -> PreTrainedModel:
    torch.manual_seed(3)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
    ).eval()


def gpt_neox() -> PreTrainedModel:
    torch.manual_seed(3)
    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return GPTNeoXForCausalLM(config).eval()


def qwen2() -> PreTrainedModel:
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


NETWORKS = {
    "fused, tied": lambda: _fused(llama(tied=True)),
    "fused, untied": lambda: _fused(llama(tied=False)),
    "fused, one key-value head": lambda: _fused(llama(tied=False, groups=1)),
    "fused, no grouping": lambda: _fused(llama(tied=True, groups=4)),
    "llama": lambda: _generic(llama(tied=True)),
    "gpt2": lambda: _generic(gpt2()),
    "gpt_neox": lambda: _generic(gpt_neox()),
    "qwen2": lambda: _generic(qwen2()),
}


def _fused(model: LlamaForCausalLM) -> tuple[Network, PreTrainedModel]:
    return FusedLlama(model, torch.float32), model


def _generic(model: PreTrainedModel) -> tuple[Network, PreTrainedModel]:
    return TransformersNetwork(model, 64), model


def oracle(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_of_a_padded_batch_equals_the_unpadded_forward(name: str) -> None:
    network, model = NETWORKS[name]()

    decoding, first = network.prefill(PROMPTS, draws=2, room=3)
    seen = [first.repeat_interleave(2, dim=0)]
    for position in range(2):
        seen.append(decoding.step(CONTINUATIONS[:, position]))

    for row in range(6):
        prompt = PROMPTS[row // 2]
        expected = oracle(model, prompt + CONTINUATIONS[row, :2].tolist())[len(prompt) - 1 :]
        torch.testing.assert_close(torch.stack([logits[row] for logits in seen]), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_reading_texts_of_unequal_length_equals_reading_each_alone(name: str) -> None:
    network, model = NETWORKS[name]()

    logits = network.logits(network.read(PROMPTS))

    expected = torch.cat([oracle(model, prompt) for prompt in PROMPTS])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_bf16_weights_stay_close_to_fp32() -> None:
    model = llama(tied=True)

    rounded = FusedLlama(model, torch.bfloat16)
    logits = rounded.logits(rounded.read(PROMPTS))

    expected = torch.cat([oracle(model, prompt) for prompt in PROMPTS])
    assert 0 < (logits - expected).abs().max() < 0.05 * expected.std() + 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
    ],
)
def test_unusual_llamas_are_left_to_transformers(options: dict[str, object]) -> None:
    assert not is_plain_llama(llama(tied=True, **options))


def test_a_model_that_caps_its_logits_is_read_with_the_cap() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5, max_position_embeddings=64,
        initializer_range=0.5,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    network = TransformersNetwork(model, 64)

    logits = network.logits(network.read(PROMPTS))

    assert logits.abs().max() <= 0.5
    torch.testing.assert_close(logits, torch.cat([oracle(model, p) for p in PROMPTS]), atol=1e-4, rtol=0)
