"""Gathered and packed log-probabilities equal the plain ones, or are not used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from training_oracle import log_prob
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
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

from llm_repair.models.training.batches import TokenisedSample, padded_batch
from llm_repair.models.training.layouts import layout_for
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.packing import packed_batch
from llm_repair.models.training.readout import continuation_log_probs, head_is_linear

VOCABULARY = 40
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def wide(model: PreTrainedModel) -> PreTrainedModel:
    """Spreads the start weights, so that log-probabilities are far from uniform and mistakes show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def llama() -> PreTrainedModel:
    return wide(LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=2, **SIZES, **IDS)))


def qwen() -> PreTrainedModel:
    return wide(Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=2, **SIZES, **IDS)))


def pythia() -> PreTrainedModel:
    return wide(GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCABULARY, **SIZES, **IDS)))


def gpt2() -> PreTrainedModel:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=32, **IDS)
    return wide(GPT2LMHeadModel(config))


def gemma() -> PreTrainedModel:
    """Caps its logits after the head, and has layers with a local window."""
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        query_pre_attn_scalar=8,
        **SIZES,
        **IDS,
    )
    return wide(Gemma2ForCausalLM(config))


def bloom() -> PreTrainedModel:
    """Places tokens by ALiBi, which reads positions off the mask."""
    return wide(BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, **IDS)))


def falcon() -> PreTrainedModel:
    """Places tokens by ALiBi too, although its forward names positions."""
    config = FalconConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True, **IDS
    )
    return wide(FalconForCausalLM(config))


SAMPLES = [TokenisedSample(str(i), tuple(range(3, 5 + i)), (tuple(range(7, 11 + i)), (9,) * (1 + i))) for i in range(5)]

packable = pytest.mark.parametrize("make", [llama, qwen, pythia, gpt2])


def plain(model: PreTrainedModel, prompt_in_loss: bool) -> torch.Tensor:
    """The oracle: each continuation by itself behind its prompt, every logit, no padding."""
    rows: list[torch.Tensor] = []
    for sample in SAMPLES:
        learnt_from = 1 if prompt_in_loss else len(sample.prompt)
        for continuation in sample.continuations:
            text = (*sample.prompt, *continuation)
            rows.append(log_prob(model, text[:learnt_from], text[learnt_from:]))
    return torch.stack(rows)


@packable
@pytest.mark.parametrize("prompt_in_loss", [False, True])
def test_gathered_and_packed_log_probs_equal_the_plain_ones(
    make: Callable[[], PreTrainedModel], prompt_in_loss: bool
) -> None:
    model = make()
    with torch.no_grad():
        expected = plain(model, prompt_in_loss)
        gathered = continuation_log_probs(model, padded_batch(SAMPLES, prompt_in_loss=prompt_in_loss))
        packed = continuation_log_probs(model, packed_batch(SAMPLES, prompt_in_loss=prompt_in_loss))

    assert expected.std() > 1
    torch.testing.assert_close(gathered, expected, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(packed, expected, atol=1e-4, rtol=1e-6)


@packable
def test_gradients_of_packed_samples_equal_those_of_the_plain_form(make: Callable[[], PreTrainedModel]) -> None:
    one, other = make(), make()

    plain(one, False).sum().backward()
    continuation_log_probs(other, packed_batch(SAMPLES)).sum().backward()

    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad, atol=2e-3, rtol=1e-4, msg=name)


@packable
def test_plain_attention_models_are_packed_and_gathered(make: Callable[[], PreTrainedModel]) -> None:
    model = make()

    assert head_is_linear(model, SAMPLES[0])
    assert layout_for(model, SAMPLES, prompt_in_loss=False)(SAMPLES).attention_mask.dim() == 4


@pytest.mark.parametrize("make", [gemma, bloom, falcon])
def test_models_that_the_fast_forms_would_get_wrong_go_the_plain_way(make: Callable[[], PreTrainedModel]) -> None:
    model = make()
    log_probs = LogProbs(model, SAMPLES, prompt_in_loss=False, half=False)

    with torch.no_grad():
        found, _ = log_probs.of(SAMPLES)
        expected = plain(model, False)

    torch.testing.assert_close(found.flatten(), expected, atol=1e-4, rtol=1e-6)


def test_log_probs_do_not_depend_on_the_other_samples_of_the_batch() -> None:
    model = llama()
    log_probs = LogProbs(model, SAMPLES, prompt_in_loss=False, half=False)

    with torch.no_grad():
        together, _ = log_probs.of(SAMPLES)
        alone = torch.cat([log_probs.of([sample])[0] for sample in SAMPLES])

    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-6)


def test_parts_keep_the_order_and_bound_the_tokens_read_at_once() -> None:
    long = [TokenisedSample(str(i), (1,) * 500, ((2,) * 700, (3,) * 300)) for i in range(7)]
    log_probs = LogProbs(llama(), SAMPLES, prompt_in_loss=False, half=False)

    parts = list(log_probs.parts(long))

    assert [sample for part in parts for sample in part] == long
    assert [len(part) for part in parts] == [2, 2, 2, 1]


@pytest.mark.parametrize("make", [llama, gemma])
@pytest.mark.parametrize("prompt_in_loss", [False, True])
def test_logits_of_a_sequence_stand_in_the_order_of_its_tokens(
    make: Callable[[], PreTrainedModel], prompt_in_loss: bool
) -> None:
    """Packed for the Llama, padded for the Gemma; in both, each logit row predicts the token it is said to."""
    log_probs = LogProbs(make(), SAMPLES, prompt_in_loss=prompt_in_loss, half=False)

    with torch.no_grad():
        logits, batch = log_probs.logits(SAMPLES)
        summed, _ = log_probs.of(SAMPLES)

    for number, sample in enumerate(SAMPLES):
        first = sample.prompt[1:] if prompt_in_loss else ()
        for branch, continuation in enumerate(sample.continuations):
            mine = batch.owners == 2 * number + branch
            assert batch.targets[mine].tolist() == [*first, *continuation]
            picked = logits[mine].log_softmax(-1).gather(1, batch.targets[mine].unsqueeze(1)).sum()
            torch.testing.assert_close(picked, summed[number, branch], atol=1e-4, rtol=1e-6)
