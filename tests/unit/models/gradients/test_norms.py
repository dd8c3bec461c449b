"""Which way gradients norms are found, and that the way does not show in the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gradient_models import IDS, SPREAD, VOCABULARY, WIDTHS, expected_norm, made, samples_of
from torch import Tensor, nn
from transformers import (
    CTRLConfig,
    CTRLLMHeadModel,
    GemmaConfig,
    GemmaForCausalLM,
    PreTrainedModel,
)

from llm_repair.core.errors import ModelInvalid
from llm_repair.core.repair import DaptMethod, DpoMethod, FullParameters, LoraParameters, Method, RepairMethod
from llm_repair.models.gradients import norms
from llm_repair.models.gradients.loss import sample_loss
from llm_repair.models.gradients.norms import GradientNorms
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.batches import TokenisedSample

DAPT = RepairMethod(DaptMethod(), trainable=FullParameters())
DPO = RepairMethod(DpoMethod(), trainable=FullParameters())


def norms_at(
    model: PreTrainedModel, method: RepairMethod, samples: list[TokenisedSample], *, half: bool = False
) -> tuple[TrainableModel, GradientNorms]:
    target = make_trainable(model, method.trained, seed=0)
    return target, GradientNorms(target, sample_loss(method), samples, half=half)


def all_of(found: GradientNorms, samples: list[TokenisedSample]) -> np.ndarray:
    values = np.full(len(samples), np.nan)
    for batch in found.batches(samples):
        values[batch] = found.of([samples[place] for place in batch]).values
    return values


def expected(target: TrainableModel, samples: list[TokenisedSample], method: RepairMethod) -> list[float]:
    return [expected_norm(target, sample, method) for sample in samples]


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neo", "pythia", "llama", "qwen2", "qwen3", "phi"])
def test_known_shapes_take_the_ghost_way(shape: str) -> None:
    target, found = norms_at(made(shape), DPO, samples_of(2))

    assert (found.path, found.reason) == ("ghost", "")
    np.testing.assert_allclose(all_of(found, samples_of(2)), expected(target, samples_of(2), DPO), rtol=1e-5)


def test_an_architecture_without_a_rule_takes_the_loop_and_says_which_layer_lacks_one() -> None:
    """Gemma scales its embedding inside a layer of its own."""
    torch.manual_seed(0)
    model = GemmaForCausalLM(GemmaConfig(num_key_value_heads=2, head_dim=8, **WIDTHS, **SPREAD, **IDS)).eval()
    samples = samples_of(1)

    target, found = norms_at(model, DAPT, samples)

    assert found.path == "loop"
    assert "embed_tokens is a GemmaTextScaledWordEmbedding" in found.reason
    assert [len(batch) for batch in found.batches(samples)] == [1] * len(samples)
    assert found.of(samples).looped == len(samples)
    np.testing.assert_allclose(all_of(found, samples), expected(target, samples, DAPT), rtol=1e-5)


class CubedRMSNorm(nn.Module):
    """Has the name and the parts of an RMSNorm and computes something else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = 1e-6

    def forward(self, values: Tensor) -> Tensor:
        return self.weight**3 * values


def test_a_rule_that_does_not_hold_is_found_out_and_the_loop_taken() -> None:
    model = made("llama")
    model.get_submodule("model").norm = CubedRMSNorm(16)  # pyright: ignore
    samples = samples_of(1)

    target, found = norms_at(model, DAPT, samples)

    assert found.path == "loop"
    assert "differ from those of their own backward passes" in found.reason
    np.testing.assert_allclose(all_of(found, samples), expected(target, samples, DAPT), rtol=1e-5)


def test_logits_that_are_scaled_after_the_head_take_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("llama")
    plain = type(model).forward

    def scaled(self: PreTrainedModel, *arguments: object, **named: object) -> object:
        output = plain(self, *arguments, **named)
        output.logits = output.logits * 0.5
        return output

    monkeypatch.setattr(type(model), "forward", scaled)
    samples = samples_of(1)

    target, found = norms_at(model, DAPT, samples)

    assert (found.path, "differ" in found.reason) == ("loop", True)
    np.testing.assert_allclose(all_of(found, samples), expected(target, samples, DAPT), rtol=1e-5)


def test_a_model_with_nothing_to_train_is_refused_by_field() -> None:
    target = make_trainable(made("gpt2"), FullParameters(), seed=0)
    target.model.requires_grad_(False)

    with pytest.raises(ModelInvalid) as refused:
        GradientNorms(target, sample_loss(DAPT), samples_of(1), half=False)
    assert refused.value.metadata == {"field": "method.trainable"}


def test_a_model_whose_loss_has_no_gradient_is_refused_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("gpt2")
    monkeypatch.setattr(type(model.base_model), "forward", torch.no_grad()(type(model.base_model).forward))
    for parameter in model.get_output_embeddings().parameters():
        parameter.requires_grad_(False)
    target = TrainableModel(model, None)

    with pytest.raises(ModelInvalid) as refused:
        GradientNorms(target, sample_loss(DAPT), samples_of(1), half=False)
    assert refused.value.metadata == {"field": "method.trainable"}


class Overwriting(nn.Module):
    """Overwrites what its own backward pass needs."""

    def forward(self, values: Tensor) -> Tensor:
        grown = values.exp()
        output = 2 * grown
        grown.zero_()
        return output


def test_an_architecture_that_autograd_cannot_go_back_through_is_refused_by_field() -> None:
    model = made("llama")
    model.get_submodule("model").norm = Overwriting()  # pyright: ignore

    with pytest.raises(ModelInvalid) as refused:
        norms_at(model, DAPT, samples_of(1))
    assert refused.value.metadata == {"field": "model"}


def test_an_architecture_that_scales_its_embedding_in_place_takes_the_ghost_way() -> None:
    torch.manual_seed(0)
    config = CTRLConfig(vocab_size=VOCABULARY, n_embd=16, dff=24, n_layer=1, n_head=2, n_positions=64)
    model = CTRLLMHeadModel(config).eval()
    samples = samples_of(1)

    target, found = norms_at(model, DAPT, samples)

    assert found.path == "ghost"
    np.testing.assert_allclose(all_of(found, samples), expected(target, samples, DAPT), rtol=1e-5)


def test_an_architecture_on_which_the_ghost_pass_fails_takes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base model that returns a plain tuple."""
    model = made("llama")
    plain = type(model.base_model).forward

    def as_tuple(self: nn.Module, *arguments: object, **named: object) -> object:
        output = plain(self, *arguments, **named)
        return output if "attention_mask" in named and named["attention_mask"] is not None else output.to_tuple()

    monkeypatch.setattr(type(model.base_model), "forward", as_tuple)
    samples = samples_of(1)

    _, found = norms_at(model, DAPT, samples)

    assert (found.path, found.reason) == ("loop", "the ghost pass ends with AttributeError")
    assert (all_of(found, samples) > 0).all()


def test_pairs_that_differ_by_little_keep_their_digits_and_equal_ones_have_norm_zero() -> None:
    """The gradients of both sides cancel but for the last token, or altogether."""
    start = tuple(range(30))
    samples = [
        TokenisedSample("late", (1, 2, 3), ((*start, 7), (*start, 8))),
        TokenisedSample("equal", (1, 2, 3), (start, start)),
        TokenisedSample("other", (1, 2, 3), ((4, 5), (6, 7, 8))),
    ]

    target, found = norms_at(made("gpt2"), DPO, samples)
    values = all_of(found, samples)

    assert values[1] == 0.0
    np.testing.assert_allclose(values[[0, 2]], expected(target, [samples[0], samples[2]], DPO), rtol=1e-5)


def test_a_pool_of_equal_pairs_has_norm_zero_throughout() -> None:
    samples = [TokenisedSample(f"s{number}", (1, 2), ((3, 4), (3, 4))) for number in range(3)]

    _, found = norms_at(made("gpt2"), DPO, samples)

    assert all_of(found, samples).tolist() == [0.0] * 3


def test_what_cancels_too_much_is_done_again_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit below 1 every sample of few tokens is doubtful; all are done again and counted."""
    samples = [TokenisedSample(f"s{number}", (number, 2), ((3,), (4,))) for number in range(3)]
    target, found = norms_at(made("gpt2"), DPO, samples)
    monkeypatch.setattr(norms, "CANCELLATION", 0.0)

    made_again = found.of(samples)

    assert made_again.looped == 3
    np.testing.assert_allclose(made_again.values, expected(target, samples, DPO), rtol=1e-5)


def test_batches_hold_every_sample_once_by_length_and_ignore_the_order_of_the_pool() -> None:
    samples = [TokenisedSample(f"s{number:02}", (1,) * (1 + number % 9), ((2,) * 5,)) for number in range(40)]
    _, found = norms_at(made("llama"), DAPT, samples)

    batches = found.batches(samples)
    turned = found.batches(samples[::-1])

    assert sorted(place for batch in batches for place in batch) == list(range(40))
    lengths = [samples[place].tokens for batch in batches for place in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert [[samples[at].id for at in batch] for batch in batches] == [
        [samples[::-1][at].id for at in batch] for batch in turned
    ]


def test_the_size_of_batches_changes_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = samples_of(2) + [
        TokenisedSample(f"t{at}", one.prompt, one.continuations) for at, one in enumerate(samples_of(2, seed=1))
    ]
    _, found = norms_at(made("pythia"), DPO, samples)
    whole = all_of(found, samples)

    for tokens in (1, 60, 300):
        monkeypatch.setattr(norms, "BATCH_TOKENS", tokens)
        np.testing.assert_allclose(all_of(found, samples), whole, rtol=1e-5)


@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama"])
@pytest.mark.parametrize("trainable", [FullParameters(), LoraParameters(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize("objective", [DaptMethod(), DpoMethod()], ids=["dapt", "dpo"])
def test_bf16_ranks_as_fp32_does(shape: str, trainable: FullParameters | LoraParameters, objective: Method) -> None:
    method = RepairMethod(objective, trainable=trainable)
    rng = np.random.default_rng(0)
    parts = sample_loss(method).continuations
    samples = [
        TokenisedSample(
            f"s{number:03}",
            tuple(rng.integers(VOCABULARY, size=rng.integers(3, 20)).tolist()),
            tuple(tuple(rng.integers(VOCABULARY, size=rng.integers(3, 30)).tolist()) for _ in range(parts)),
        )
        for number in range(200)
    ]

    exact, rounded = (all_of(norms_at(made(shape), method, samples, half=half)[1], samples) for half in (False, True))

    assert not np.array_equal(exact, rounded)
    assert rank_correlation(exact, rounded) > 0.999


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Returns Spearman's ρ; there are no ties."""
    ranks = [values.argsort().argsort() for values in (one, other)]
    return float(np.corrcoef(ranks)[0, 1])
