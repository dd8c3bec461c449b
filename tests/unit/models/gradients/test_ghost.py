"""Ghost norms are the norms of per-sample gradients, shape by shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gradient_models import IDS, SHAPES, SPREAD, VOCABULARY, expected_norm, made, samples_of, stir_adapters
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from llm_repair.core.errors import NotCarriedOut
from llm_repair.core.repair import (
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    FullParameters,
    IrepairMethod,
    KtoMethod,
    LoraParameters,
    Method,
    RepairMethod,
    Trainable,
)
from llm_repair.models.gradients.ghost import GhostNorms
from llm_repair.models.gradients.loop import looped_norm
from llm_repair.models.gradients.loss import sample_loss
from llm_repair.models.gradients.rules import RuleMissing
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.batches import TokenisedSample

EXACT = 1e-5
"""Relative, in fp32."""
EVERYTHING = FullParameters()


def prepared(shape: str, method: RepairMethod, *, tied: bool = True) -> tuple[TrainableModel, GhostNorms]:
    target = make_trainable(made(shape, tied=tied), method.trained, seed=0)
    stir_adapters(target)
    return target, GhostNorms(target, sample_loss(method), half=False)


def method_of(objective: Method, trainable: Trainable = EVERYTHING, *, prompt: bool = False) -> RepairMethod:
    return RepairMethod(objective, trainable=trainable, prompt_in_loss=prompt)


def norms_of(ghost: GhostNorms, samples: list[TokenisedSample]) -> np.ndarray:
    return ghost.squares(samples).whole.sqrt().numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    "trainable",
    [EVERYTHING, FullParameters(top_layers=1), FullParameters(layers=(0,)), LoraParameters(rank=3)],
    ids=["full", "top", "bottom", "lora"],
)
@pytest.mark.parametrize(
    ("objective", "prompt"),
    [(DaptMethod(), False), (DaptMethod(), True), (DpoMethod(beta=0.3), False)],
    ids=["dapt", "dapt-prompt", "dpo"],
)
def test_norms_equal_those_of_the_concatenated_gradients_in_a_padded_batch(
    shape: str, tied: bool, trainable: Trainable, objective: Method, prompt: bool
) -> None:
    method = method_of(objective, trainable, prompt=prompt)
    target, ghost = prepared(shape, method, tied=tied)
    samples = samples_of(sample_loss(method).continuations)

    found = norms_of(ghost, samples)

    expected = [expected_norm(target, sample, method) for sample in samples]
    np.testing.assert_allclose(found, expected, rtol=EXACT)


@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama"])
@pytest.mark.parametrize("trainable", [EVERYTHING, LoraParameters(rank=3)], ids=["full", "lora"])
@pytest.mark.parametrize(
    "objective",
    [KtoMethod(undesirable_weight=1.5), ExmateMethod(penalty_weight=5.0), ExmateMethod(dpo_weight=0.5)],
    ids=["kto", "exmate", "exmate-dpo"],
)
def test_sides_that_weigh_differently_add_up_as_in_the_loss(
    shape: str, trainable: Trainable, objective: Method
) -> None:
    method = method_of(objective, trainable)
    target, ghost = prepared(shape, method)
    samples = samples_of(2)

    found = norms_of(ghost, samples)

    expected = [expected_norm(target, sample, method) for sample in samples]
    np.testing.assert_allclose(found, expected, rtol=EXACT)


@pytest.mark.parametrize("objective", [DaptMethod(), DpoMethod()])
@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_norms_agree_where_the_gram_way_is_taken_and_where_it_is_not(shape: str, objective: Method) -> None:
    """Samples of 3 and of 60 tokens: 2 T² (16 + 16) operations are fewer than 2 T 16² at 3, more at 60."""
    method = method_of(objective, prompt=True)
    target, ghost = prepared(shape, method)
    parts = sample_loss(method).continuations
    short = TokenisedSample("short", (1, 2), ((3,), (4,))[:parts])
    long = TokenisedSample("long", tuple(range(30)), (tuple(range(5, 35)), tuple(range(35, 5, -1)))[:parts])

    for sample in (short, long):
        np.testing.assert_allclose(norms_of(ghost, [sample]), expected_norm(target, sample, method), rtol=EXACT)


@pytest.mark.parametrize("tokens", [33, 40, 57, 58])
def test_padding_that_fills_registers_does_not_show(tokens: int) -> None:
    """Rows of 32 and 56 tokens as they are; 39 becomes 40; 57 stays 57, since 64 would be an eighth more."""
    method = method_of(DaptMethod())
    target, ghost = prepared("gpt2", method)
    sample = TokenisedSample("s", (1, 2, 3), (tuple(number % VOCABULARY for number in range(tokens - 3)),))

    np.testing.assert_allclose(norms_of(ghost, [sample]), expected_norm(target, sample, method), rtol=EXACT)


def test_padding_stays_within_the_context() -> None:
    """38 columns would be padded to 40, and there are 39 positions."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=39, **SPREAD, **IDS)).eval()
    method = method_of(DaptMethod())
    target = make_trainable(model, EVERYTHING, seed=0)
    sample = TokenisedSample("s", (1, 2, 3), (tuple(range(36)),))

    found = norms_of(GhostNorms(target, sample_loss(method), half=False), [sample, sample])

    np.testing.assert_allclose(found, expected_norm(target, sample, method), rtol=EXACT)


@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama"])
def test_a_sample_does_not_depend_on_its_batch(shape: str) -> None:
    _, ghost = prepared(shape, method_of(DaptMethod()))
    samples = samples_of(1)

    whole = norms_of(ghost, samples)
    alone = np.concatenate([norms_of(ghost, [sample]) for sample in samples])

    np.testing.assert_allclose(whole, alone, rtol=EXACT)


@pytest.mark.parametrize("tied", [True, False])
def test_a_padding_row_of_the_embedding_never_learns_as_in_autograd(tied: bool) -> None:
    """The token with the id of padding stands in the text, as an end-of-text token does."""
    method = method_of(DaptMethod(), prompt=True)
    model = made("llama", tied=tied)
    assert isinstance(model, LlamaForCausalLM)
    model.model.embed_tokens.padding_idx = 7
    target = make_trainable(model, EVERYTHING, seed=0)
    sample = TokenisedSample("s", (7, 3), ((7, 5, 7, 9),))

    found = norms_of(GhostNorms(target, sample_loss(method), half=False), [sample])

    np.testing.assert_allclose(found, expected_norm(target, sample, method), rtol=EXACT)


def test_fresh_adapters_have_a_gradient_in_their_second_matrix_only() -> None:
    """B = 0, so A has no gradient and the norm is that of B's alone."""
    method = method_of(DaptMethod(), LoraParameters(rank=2))
    target = make_trainable(made("gpt2"), method.trained, seed=3)
    ghost = GhostNorms(target, sample_loss(method), half=False)
    samples = samples_of(1)

    np.testing.assert_allclose(
        norms_of(ghost, samples), [expected_norm(target, sample, method) for sample in samples], rtol=EXACT
    )


def test_label_smoothing_scales_the_gradient_of_a_pair() -> None:
    """σ(0) = 1/2 either way, so d loss = -(1 - 2ε) β/2 d margin: a factor of 0.6 at ε = 0.2."""
    samples = samples_of(2)
    _, plain = prepared("gpt2", method_of(DpoMethod(beta=0.1)))
    _, smoothed = prepared("gpt2", method_of(DpoMethod(beta=0.1, label_smoothing=0.2)))

    np.testing.assert_allclose(norms_of(smoothed, samples), 0.6 * norms_of(plain, samples), rtol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    target, ghost = prepared("llama", method_of(DaptMethod(), FullParameters(top_layers=1)))
    trained = set(target.parameters)

    ghost.squares(samples_of(1))

    assert set(target.parameters) == trained
    assert all(parameter.grad is None for parameter in target.model.parameters())
    assert not any(module._forward_hooks for module in target.model.modules())


def test_no_gradient_of_a_parameter_is_ever_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    target, ghost = prepared("gpt2", method_of(DaptMethod()))
    asked: list[bool] = []
    backward = torch.autograd.backward

    def watched(*arguments: object) -> None:
        asked.extend(parameter.requires_grad for parameter in target.model.parameters())
        backward(*arguments)

    monkeypatch.setattr(torch.autograd, "backward", watched)
    ghost.squares(samples_of(1))

    assert asked and not any(asked)


class Doubled(nn.Module):
    """A layer that is used twice in one pass."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.inner(values) + self.inner(2 * values)


def test_a_layer_used_twice_is_refused() -> None:
    model = made("llama")
    attention = model.get_submodule("model.layers.0.self_attn")
    attention.o_proj = Doubled(attention.get_submodule("o_proj"))  # pyright: ignore
    ghost = GhostNorms(make_trainable(model, EVERYTHING, seed=0), sample_loss(method_of(DaptMethod())), half=False)

    with pytest.raises(RuleMissing, match="used twice"):
        ghost.squares(samples_of(1))


def test_a_parameter_of_two_layers_is_refused() -> None:
    model = made("llama")
    layers = [model.get_submodule(f"model.layers.{number}.mlp") for number in (0, 1)]
    layers[1].up_proj.weight = layers[0].up_proj.weight  # pyright: ignore

    with pytest.raises(RuleMissing, match="shares a parameter"):
        GhostNorms(make_trainable(model, EVERYTHING, seed=0), sample_loss(method_of(DaptMethod())), half=False)


def test_a_layer_without_a_rule_is_named_but_only_where_it_is_trained() -> None:
    model = made("llama")
    model.get_submodule("model.layers.0.mlp").down_proj = nn.Bilinear(24, 24, 16)  # pyright: ignore
    loss = sample_loss(method_of(DaptMethod()))

    with pytest.raises(RuleMissing, match=r"model\.layers\.0\.mlp\.down_proj is a Bilinear"):
        GhostNorms(make_trainable(model, EVERYTHING, seed=0), loss, half=False)
    GhostNorms(make_trainable(model, FullParameters(layers=(1,)), seed=0), loss, half=False)


@pytest.mark.parametrize("half", [False, True])
def test_of_an_unpaired_sample_its_own_side_counts_also_in_a_batch_with_pairs(half: bool) -> None:
    method = method_of(KtoMethod(desirable_weight=1.3, undesirable_weight=0.7))
    target, _ = prepared("gpt2", method)
    ghost = GhostNorms(target, sample_loss(method), half=half)
    one, two, three, *_ = samples_of(2)
    samples = [
        one,
        replace(two, continuations=two.continuations[:1]),
        replace(three, continuations=three.continuations[1:], desirable=False),
    ]

    found = norms_of(ghost, samples)

    expected = [expected_norm(target, sample, method) for sample in samples]
    np.testing.assert_allclose(found, expected, rtol=0.02 if half else EXACT)
    looped = [looped_norm(target, sample, sample_loss(method), half=False) for sample in samples]
    np.testing.assert_allclose(looped, expected, rtol=EXACT)


def test_the_penalty_of_exmate_fades_with_the_probability_of_what_it_penalises() -> None:
    """Of two equal sides of mean log-probability log π̄ the gradients are parallel: 1 against λ π̄."""
    target, plain = prepared("gpt2", method_of(DaptMethod()))
    penalised = GhostNorms(target, sample_loss(method_of(ExmateMethod(penalty_weight=3.0))), half=False)
    one = samples_of(1)[0]
    pair = replace(one, continuations=one.continuations * 2)
    ids = torch.tensor([[*one.prompt, *one.continuations[0]]])
    log_probs = torch.log_softmax(target.model(ids).logits[0, :-1], dim=-1).gather(1, ids[0, 1:, None])
    mean = log_probs[len(one.prompt) - 1 :].mean().exp().item()

    np.testing.assert_allclose(norms_of(penalised, [pair]), abs(1 - 3 * mean) * norms_of(plain, [one]), rtol=EXACT)


def test_other_methods_are_not_scored() -> None:
    with pytest.raises(NotCarriedOut, match="IrepairMethod"):
        sample_loss(method_of(IrepairMethod()))
