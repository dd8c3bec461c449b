"""Frozen layers are passed once by a batch that is read again, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    ZayaConfig,
    ZayaForCausalLM,
)

from llm_repair.core.repair import FullParameters, LoraParameters, Trainable
from llm_repair.models.training import frozen
from llm_repair.models.training.adapters import TrainableModel, make_trainable, transformer_layers
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.frozen import frozen_layers
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.reference import ReferenceModel

IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": 20}
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
FEW = {"num_key_value_heads": 1}

SHAPES: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=4, n_head=2, n_positions=32, **IDS)),
    "gpt_neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(
            hidden_size=16, num_layers=4, num_heads=2, attention_types=[[["global", "local"], 2]], window_size=8, **IDS
        )
    ),
    "pythia": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **IDS)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **FEW, **IDS)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, **FEW, head_dim=8, **IDS)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **FEW, head_dim=8, **IDS)),
    "bloom": lambda: BloomForCausalLM(BloomConfig(hidden_size=16, n_layer=4, n_head=2, **IDS)),
    "mamba": lambda: MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=4, **IDS)),
}
HANDING_ON: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma4, whose upper layers read the keys of lower ones": lambda: Gemma4ForCausalLM(
        Gemma4TextConfig(
            **{**SIZES, **IDS},
            **FEW,
            head_dim=8,
            global_head_dim=8,
            vocab_size_per_layer_input=20,
            hidden_size_per_layer_input=8,
            layer_types=["sliding_attention", "full_attention"] * 2,
            num_kv_shared_layers=2,
        )
    ),
    "zaya, whose routers go on from those below": lambda: ZayaForCausalLM(
        ZayaConfig(
            hidden_size=16,
            ffn_hidden_size=24,
            num_hidden_layers=4,
            num_attention_heads=2,
            **FEW,
            head_dim=8,
            num_experts=2,
            **IDS,
        )
    ),
}
SAMPLES = [
    TokenisedSample("a", (1, 2, 3), ((4, 5), (6, 7, 8))),
    TokenisedSample("b", (9, 10), ((11,), (12, 13))),
    TokenisedSample("c", (14, 3, 2, 1), ((5, 5, 5), (2,))),
]
TOP_HALF = FullParameters(top_layers=2)


def target_of(shape: str, trainable: Trainable = TOP_HALF) -> TrainableModel:
    torch.manual_seed(0)
    return make_trainable(SHAPES[shape](), trainable, seed=1)


def log_probs_of(target: TrainableModel, *, half: bool = False) -> LogProbs:
    return LogProbs(target.model, SAMPLES, prompt_in_loss=False, half=half, frozen=frozen_layers(target))


def change(target: TrainableModel) -> None:
    with torch.no_grad():
        for parameter in target.parameters.values():
            parameter.mul_(1.5).add_(0.01)


@contextmanager
def passes(modules: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """Yields the modules that run meanwhile."""
    ran: list[nn.Module] = []
    handles = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in modules]
    yield ran
    for handle in handles:
        handle.remove()


def inside(layers: Sequence[nn.Module]) -> list[nn.Module]:
    return [part for layer in layers for part in layer.modules() if isinstance(part, nn.LayerNorm | nn.Linear)]


@torch.no_grad()
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_repeated_batch_has_the_plain_numbers_to_the_bit(shape: str, half: bool) -> None:
    target = target_of(shape)
    log_probs = log_probs_of(target, half=half)
    before = [log_probs.of(SAMPLES, repeated=True) for _ in range(2)]
    change(target)
    after, plain = log_probs.of(SAMPLES, repeated=True), log_probs.of(SAMPLES)

    assert torch.equal(before[0][0], before[1][0])
    assert torch.equal(after[0], plain[0])
    assert not torch.equal(after[0], before[0][0])
    assert after[1] == plain[1] == before[1][1]


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_layers_run_once_and_trained_ones_each_time(shape: str) -> None:
    target = target_of(shape)
    log_probs, layers = log_probs_of(target), transformer_layers(target.model)
    with passes(inside(layers[:2])) as below, passes(inside(layers[2:])) as above:
        log_probs.of(SAMPLES, repeated=True)
        once = (len(below), len(above))
        log_probs.of(SAMPLES, repeated=True)
        twice = (len(below), len(above))
        log_probs.of(SAMPLES)

    assert min(once) > 0
    assert twice == (once[0], 2 * once[1])
    assert (len(below), len(above)) == (2 * once[0], 3 * once[1])


@torch.no_grad()
@pytest.mark.parametrize("shape", HANDING_ON)
def test_none_is_spared_where_layers_hand_on_more_than_their_states(shape: str) -> None:
    torch.manual_seed(0)
    target = make_trainable(HANDING_ON[shape](), TOP_HALF, seed=1)
    log_probs, layers = log_probs_of(target), transformer_layers(target.model)
    assert frozen_layers(target)
    with passes(inside(layers[:2])) as below:
        found = [log_probs.of(SAMPLES, repeated=True)[0] for _ in range(2)]

    assert below[: len(below) // 2] == below[len(below) // 2 :]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], log_probs.of(SAMPLES)[0])


@torch.no_grad()
def test_other_batches_are_not_taken_for_one_that_is_kept() -> None:
    log_probs = log_probs_of(target_of("llama"))
    log_probs.of(SAMPLES, repeated=True)
    renamed = TokenisedSample("a", (1, 2, 3), ((4, 5), (6, 7, 9)))
    shorter = [TokenisedSample(sample.id, sample.prompt, sample.continuations[:1]) for sample in SAMPLES]

    for other in ([renamed, *SAMPLES[1:]], SAMPLES[::-1], SAMPLES[:2], shorter):
        assert torch.equal(log_probs.of(other, repeated=True)[0], log_probs.of(other)[0])


@torch.no_grad()
def test_reference_passes_them_once_too() -> None:
    target = target_of("llama")
    log_probs = log_probs_of(target)
    reference = ReferenceModel(target, log_probs)
    expected = log_probs.logits(SAMPLES)[0]
    change(target)
    own = log_probs.logits(SAMPLES, repeated=True)[0]
    with passes(inside(transformer_layers(target.model)[:2])) as below:
        found = reference.logits(SAMPLES, repeated=True)

    assert not below
    assert torch.equal(found, expected)
    assert not torch.equal(found, own)


@torch.no_grad()
def test_what_does_not_fit_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of("llama")
    log_probs = log_probs_of(target)
    states = 4 * 16 * 18  # fp32, width, tokens read in the row
    monkeypatch.setattr(frozen, "KEPT_BYTES", states)
    with passes(inside(transformer_layers(target.model)[:2])) as below:
        counts: list[int] = []
        for batch in (SAMPLES, SAMPLES, SAMPLES[:2], SAMPLES[:2]):
            ran = len(below)
            log_probs.of(batch, repeated=True)
            counts.append(len(below) - ran)

    assert [count > 0 for count in counts] == [True, False, True, True]


@torch.no_grad()
def test_halved_micro_batches_forget_the_whole_ones() -> None:
    target = target_of("llama")
    log_probs = log_probs_of(target)
    for part in log_probs.parts(SAMPLES):
        log_probs.of(part, repeated=True)
    assert log_probs.halve()

    with passes(inside(transformer_layers(target.model)[:2])) as below:
        log_probs.of(SAMPLES, repeated=True)

    assert below


@pytest.mark.parametrize(
    ("trainable", "count"),
    [
        (FullParameters(), 0),
        (LoraParameters(), 0),
        (FullParameters(top_layers=1), 3),
        (FullParameters(layers=(1, 3)), 1),
        (FullParameters(layers=(0,)), 0),
        (FullParameters(layers=(2,)), 2),
    ],
)
def test_layers_below_the_lowest_trained_one_are_frozen(trainable: Trainable, count: int) -> None:
    target = target_of("llama", trainable)

    assert list(frozen_layers(target)) == list(transformer_layers(target.model))[:count]


def test_none_are_where_the_embeddings_are_trained() -> None:
    target = target_of("llama")
    target.model.get_input_embeddings().requires_grad_(True)

    assert not frozen_layers(target)
