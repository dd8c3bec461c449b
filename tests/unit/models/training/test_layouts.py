"""A batch is packed where the model reads a packed row as it reads the texts alone, and padded where it does not."""

from __future__ import annotations

import math

import pytest
import torch
from gradient_models import made, samples_of
from training_oracle import gpt_neo, log_prob
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.layouts import layout_for, longest_packed_row
from llm_repair.models.training.readout import continuation_log_probs

SAMPLES = samples_of(2)
"""The longest is of 30 + 10 + 12 tokens."""


def sliding_qwen(window: int) -> PreTrainedModel:
    """Its second layer has a sliding window."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(
        vocab_size=40,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=window,
        max_window_layers=1,
        initializer_range=0.3,
        **sizes,
    )
    return Qwen2ForCausalLM(config).eval()


def eager_llama() -> PreTrainedModel:
    model = made("llama")
    model.set_attn_implementation("eager")
    return model


def check(model: PreTrainedModel, samples: list[TokenisedSample], *, packed: bool) -> None:
    """Asserts that a batch is packed, or that it is padded, and that its log-probabilities are right."""
    batch = layout_for(model, samples[:4], prompt_in_loss=False)(samples)
    with torch.no_grad():
        found = continuation_log_probs(model, batch)
        expected = torch.stack([log_prob(model, s.prompt, c) for s in samples for c in s.continuations])
    assert (batch.attention_mask.dim() == 4) == packed
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_rows_no_longer_than_a_local_window_are_packed() -> None:
    check(gpt_neo(window=128), SAMPLES, packed=True)
    check(sliding_qwen(128), SAMPLES, packed=True)


def test_batch_whose_rows_outgrow_the_window_is_padded_and_another_is_not() -> None:
    """The longest sample alone is longer than the window, so it cannot be in a packed row."""
    model = gpt_neo(window=40)

    check(model, SAMPLES, packed=False)
    check(model, SAMPLES[:3], packed=True)
    check(sliding_qwen(40), SAMPLES, packed=False)


def test_causal_mask_kept_as_a_buffer_bounds_the_rows() -> None:
    """Rows of this model could not be longer than its context, window or not."""
    assert longest_packed_row(gpt_neo(window=1024, context=64)) == 64
    check(gpt_neo(window=1024, context=64), SAMPLES, packed=True)


def test_eager_attention_reads_the_mask_of_a_packed_row() -> None:
    check(eager_llama(), SAMPLES, packed=True)


@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama", "qwen2", "qwen3"])
def test_models_that_attend_everywhere_are_packed_whatever_the_length(shape: str) -> None:
    model = made(shape)

    assert longest_packed_row(model) == math.inf
    check(model, SAMPLES, packed=True)


def test_kind_of_attention_that_is_not_known_is_never_packed() -> None:
    model = made("llama")
    model.config.layer_types = ["full_attention", "linear_attention"]

    batch = layout_for(model, SAMPLES, prompt_in_loss=False)(SAMPLES)

    assert longest_packed_row(model) == 0
    assert batch.attention_mask.dim() == 2
