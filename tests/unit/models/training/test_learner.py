"""A batch's loss and gradient: the method's formula, whatever the model, the layout and the cut into parts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from gradient_models import made, samples_of
from torch import Tensor
from torch.nn import functional
from training_oracle import QuietContext, gpt_neo, log_prob, token_log_probs
from transformers import PreTrainedModel

from llm_repair.core.errors import DatasetInvalid, LossNotFinite
from llm_repair.core.repair import (
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    FullParameters,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    LoraParameters,
    Method,
    RepairMethod,
    Trainable,
)
from llm_repair.models.training import log_probs
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenBatch, TokenisedSample, padded_batch
from llm_repair.models.training.learner import BatchLoss, Learner
from llm_repair.models.training.utility import UtilityTexts
from llm_repair.trainer.methods import objective_of

METHODS: Mapping[str, Method] = {
    "dapt": DaptMethod(),
    "dapt weighed": DaptMethod(reweighting_temperature=0.5),
    "dapt_kl": DaptKlMethod(),
    "dpo": DpoMethod(label_smoothing=0.1),
    "irepair": IrepairMethod(),
    "irepair_kl": IrepairKlMethod(),
    "exmate": ExmateMethod(),
    "exmate with dpo": ExmateMethod(penalty_weight=0.3, dpo_weight=0.5),
    "kto": KtoMethod(desirable_weight=1.3, undesirable_weight=0.8),
}
SHAPES = ["gpt2", "gpt_neo", "pythia", "llama", "qwen2", "qwen3"]
"""GPT-Neo with a window of 64 tokens, which no row of the packed layout exceeds."""
UTILITY = [
    TokenisedSample(f"u{i}", (0,), (tuple((7 * i + 3 * j + i * j) % 40 for j in range(2 + 3 * i)),)) for i in range(8)
]


def samples_for(method: Method) -> list[TokenisedSample]:
    """Six samples of mixed lengths; of unpaired ones the second and fifth are unwanted."""
    if isinstance(method, KtoMethod):
        return [replace(s, desirable=i not in (1, 4)) for i, s in enumerate(samples_of(1))]
    return samples_of(1 if isinstance(method, DaptMethod | DaptKlMethod) else 2)


@dataclass
class Case:
    """A model that has moved away from its reference, and what learns on it."""

    model: PreTrainedModel
    base: PreTrainedModel
    learner: Learner
    method: RepairMethod
    samples: Sequence[TokenisedSample]
    context: QuietContext

    def learn(self, samples: Sequence[TokenisedSample] | None = None) -> tuple[BatchLoss, dict[str, Tensor]]:
        """Returns the loss and the gradients it left."""
        found = self.learner.learn(self.samples if samples is None else samples, 1)
        named = self.model.named_parameters()
        return found, {name: value.grad.clone() for name, value in named if value.grad is not None}


def case(
    method: Method, shape: str = "llama", trainable: Trainable | None = None, *, moved: float = 0.05, **settings: Any
) -> Case:
    """Prepares a case; `moved` is the size of the random step away from the reference."""
    model = gpt_neo(window=64) if shape == "gpt_neo" else made(shape)
    base = copy.deepcopy(model)
    whole = RepairMethod(method, trainable or FullParameters(), batch_samples=6, validation_share=0.25, **settings)
    target = make_trainable(model, whole.trained, seed=0)
    samples, context = samples_for(method), QuietContext()
    objective = objective_of(method)
    utility = None
    if objective.needs.kl_weight:
        utility = UtilityTexts(UTILITY, held_out_share=0.25, batch=6, seed=0)
    learner = Learner(target, samples, objective=objective, method=whole, seed=0, context=context, utility=utility)
    learner.remember(samples, learner.measure_reference(samples))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in target.parameters.values():
            value.add_(moved * torch.randn(value.shape, generator=generator))
    return Case(target.model, base, learner, whole, samples, context)


def nll_per_token(model: PreTrainedModel, samples: Sequence[TokenisedSample]) -> Tensor:
    tokens = sum(len(s.continuations[0]) for s in samples)
    return -torch.stack([log_prob(model, s.prompt, s.continuations[0]) for s in samples]).sum() / tokens


def kl_per_token(model: PreTrainedModel, base: PreTrainedModel, texts: Sequence[TokenisedSample]) -> Tensor:
    rows = []
    for text in texts:
        p = token_log_probs(base, text.prompt, text.continuations[0]).detach()
        rows.append((p.exp() * (p - token_log_probs(model, text.prompt, text.continuations[0]))).sum(-1))
    return torch.cat(rows).mean()


def expected_loss(case: Case) -> Tensor:
    """Returns the loss of the batch by the formulas of the papers, text by text."""
    model, base, samples = case.model, case.base, case.samples
    ratios = [
        [log_prob(model, s.prompt, c) - log_prob(base, s.prompt, c).detach() for c in s.continuations] for s in samples
    ]
    margins = torch.stack([row[0] - row[-1] for row in ratios])
    texts = case.learner._utility.of_step(1, len(samples)) if case.learner._utility else []  # type: ignore[attr-defined]
    match case.method.objective:
        case DaptMethod(reweighting_temperature=None) | IrepairMethod():
            weight = 1.0 if isinstance(case.method.objective, DaptMethod) else 0.5
            return weight * nll_per_token(model, samples)
        case DaptMethod():
            losses = torch.stack([-log_prob(model, s.prompt, s.continuations[0]) for s in samples])
            tokens = torch.tensor([len(s.continuations[0]) for s in samples])
            weights = 6 * (losses.detach() / tokens / 0.5).softmax(0)
            return (weights * losses).sum() / tokens.sum()
        case DaptKlMethod() | IrepairKlMethod():
            return 0.5 * nll_per_token(model, samples) + kl_per_token(model, base, texts)
        case DpoMethod():
            smoothed = 0.9 * functional.logsigmoid(0.1 * margins) + 0.1 * functional.logsigmoid(-0.1 * margins)
            return -smoothed.mean()
        case ExmateMethod() as exmate:
            means = [[log_prob(model, s.prompt, c) / len(c) for c in s.continuations] for s in samples]
            own = torch.stack([-row[0] + exmate.penalty_weight * row[1].exp() for row in means]).mean()
            return own - exmate.dpo_weight * functional.logsigmoid(0.1 * margins).mean()
        case KtoMethod():
            following = [*samples[1:], samples[0]]
            others = [o.continuations[0][: 40 - len(s.prompt)] for s, o in zip(samples, following, strict=True)]
            with torch.no_grad():
                mismatched = [
                    log_prob(model, s.prompt, other) - log_prob(base, s.prompt, other)
                    for s, other in zip(samples, others, strict=True)
                ]
                z0 = torch.stack(mismatched).mean().clamp(min=0)
            values = [
                1.3 * (1 - torch.sigmoid(0.1 * (r[0] - z0)))
                if s.desirable
                else 0.8 * (1 - torch.sigmoid(0.1 * (z0 - r[0])))
                for s, r in zip(samples, ratios, strict=True)
            ]
            return torch.stack(values).mean()


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_of_a_batch_are_those_of_the_formula(name: str) -> None:
    """For a method that updates one block, of that block; whose choice is tested with it."""
    made_case = case(METHODS[name])
    found, gradients = made_case.learn()

    for value in made_case.model.parameters():
        value.grad = None
    expected = expected_loss(made_case)
    expected.backward()
    assert found.loss == pytest.approx(expected.item(), abs=1e-5)
    assert len(gradients) == (9 if found.block is not None else 20)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, made_case.model.get_parameter(parameter).grad, atol=1e-5, rtol=1e-4, msg=parameter
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", METHODS)
def test_packed_loss_and_gradient_equal_the_unpacked_ones(
    monkeypatch: pytest.MonkeyPatch, name: str, shape: str
) -> None:
    packed_case = case(METHODS[name], shape)
    layout = packed_case.learner._log_probs._layout  # type: ignore[attr-defined]
    packed, packed_gradients = packed_case.learn()
    monkeypatch.setattr(log_probs, "layout_for", lambda *_, **__: padded_batch)
    padded, padded_gradients = case(METHODS[name], shape).learn()

    assert packed.loss == pytest.approx(padded.loss, abs=1e-5)
    assert layout(packed_case.samples).attention_mask.dim() == 4
    assert packed.block == padded.block
    assert packed_gradients.keys() == padded_gradients.keys()
    for parameter, gradient in packed_gradients.items():
        torch.testing.assert_close(gradient, padded_gradients[parameter], atol=1e-5, rtol=1e-5, msg=parameter)


@pytest.mark.parametrize("name", METHODS)
def test_batch_in_parts_has_the_loss_and_gradient_of_the_whole(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Weights, baseline and number of tokens are those of the batch, not of a part."""
    whole, whole_gradients = case(METHODS[name]).learn()
    monkeypatch.setattr(log_probs, "PART_TOKENS", 30)
    parted, parted_gradients = case(METHODS[name]).learn()

    assert parted.loss == pytest.approx(whole.loss, abs=1e-5)
    assert dict(parted.measures) == pytest.approx(dict(whole.measures), abs=1e-4)
    assert parted.block == whole.block
    for parameter, gradient in parted_gradients.items():
        torch.testing.assert_close(gradient, whole_gradients[parameter], atol=1e-5, rtol=1e-5, msg=parameter)


def test_weighing_samples_at_a_high_temperature_is_plain_dapt() -> None:
    plain, plain_gradients = case(DaptMethod()).learn()

    weighed, gradients = case(DaptMethod(reweighting_temperature=1e9)).learn()

    assert weighed.loss == pytest.approx(plain.loss, abs=1e-6)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[parameter], atol=1e-6, rtol=1e-5, msg=parameter)


def test_validation_loss_weighs_no_sample_and_leaves_no_gradient() -> None:
    weighed, plain = case(DaptMethod(reweighting_temperature=0.1)), case(DaptMethod())

    assert weighed.learner.validate(weighed.samples, 1) == plain.learner.validate(plain.samples, 1)
    assert all(value.grad is None for value in weighed.model.parameters())


def test_validation_loss_has_the_divergence_on_the_texts_held_out() -> None:
    moved = case(DaptKlMethod())

    found = moved.learner.validate(moved.samples, 7)

    held_out = moved.learner._utility.held_out  # type: ignore[union-attr]
    expected = 0.5 * nll_per_token(moved.model, moved.samples) + kl_per_token(moved.model, moved.base, held_out)
    assert len(held_out) == 2
    assert found == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_validation_loss_is_the_same_whether_frozen_layers_are_passed_once_or_each_time(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def losses() -> list[float]:
        moved = case(METHODS[name], trainable=FullParameters(top_layers=1))
        found = [moved.learner.validate(moved.samples, 1)]
        with torch.no_grad():
            for value in moved.model.parameters():
                value.add_(0.05 * value.requires_grad)
        return [*found, moved.learner.validate(moved.samples, 2)]

    passed_once = losses()
    monkeypatch.setattr("llm_repair.models.training.learner.frozen_layers", lambda target: [])

    assert passed_once == losses()
    assert passed_once[0] != passed_once[1]


@pytest.mark.parametrize(
    ("method", "trainable"),
    [
        (DaptKlMethod(), FullParameters()),
        (DaptKlMethod(), FullParameters(top_layers=1)),
        (DaptKlMethod(), LoraParameters(rank=2, dropout=0.2)),
        (IrepairKlMethod(), FullParameters()),
    ],
)
def test_divergence_is_exactly_zero_before_the_first_step(method: Method, trainable: Trainable) -> None:
    found, _ = case(method, trainable=trainable, moved=0.0).learn()

    assert found.measures["kl"] == 0.0


def test_unpaired_batch_of_one_sample_counts_from_zero() -> None:
    """1 - sigma(0.1 r) with λ_D 1.3: there is no other continuation for a baseline."""
    moved = case(METHODS["kto"])
    only = moved.samples[0]
    ratio = log_prob(moved.model, only.prompt, only.continuations[0]) - log_prob(
        moved.base, only.prompt, only.continuations[0]
    )

    found, _ = moved.learn([only])

    assert found.loss == pytest.approx(1.3 * (1 - torch.sigmoid(0.1 * ratio).item()), abs=1e-6)
    assert found.measures["baseline"] == 0.0


def test_prompt_is_learnt_where_asked_for_and_never_by_methods_that_condition_on_it() -> None:
    def loss(method: Method, prompt_in_loss: bool) -> float:
        return case(method, prompt_in_loss=prompt_in_loss).learn()[0].loss

    assert loss(DaptMethod(), True) != loss(DaptMethod(), False)
    assert loss(IrepairMethod(), True) != loss(IrepairMethod(), False)
    for method in (DpoMethod(), ExmateMethod(), KtoMethod()):
        assert loss(method, True) == loss(method, False)


@pytest.mark.parametrize(("name", "shape"), [*(("dpo", shape) for shape in SHAPES), *((n, "llama") for n in METHODS)])
def test_recomputed_activations_give_the_same_gradients(name: str, shape: str) -> None:
    kept, kept_gradients = case(METHODS[name], shape).learn()

    found, gradients = case(METHODS[name], shape, gradient_checkpointing=True).learn()

    assert (found.loss, found.block) == (kept.loss, kept.block)
    assert gradients.keys() == kept_gradients.keys()
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, kept_gradients[parameter], atol=1e-7, rtol=1e-6, msg=parameter)


def test_recomputation_runs_a_layer_again_in_the_backward_pass_and_leaves_dropout_off() -> None:
    """Two layers, one part: two calls forward, two in the backward pass."""
    recomputing = case(DaptMethod(), gradient_checkpointing=True)
    calls = []
    for layer in recomputing.model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))

    recomputing.learn()

    assert len(calls) == 4
    dropouts = [module for module in recomputing.model.modules() if isinstance(module, torch.nn.Dropout)]
    assert not any(module.training for module in dropouts)


def test_recomputation_repeats_the_noise_of_the_adapters_dropout() -> None:
    adapters = LoraParameters(rank=2, dropout=0.4)
    _, kept = case(DpoMethod(), trainable=adapters).learn()

    _, gradients = case(DpoMethod(), trainable=adapters, gradient_checkpointing=True).learn()

    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, kept[parameter], atol=1e-7, rtol=1e-6, msg=parameter)


Answer = Callable[..., tuple[Tensor, TokenBatch]]


def short_of_memory(monkeypatch: pytest.MonkeyPatch, learner: Learner, *, most_samples: int, message: str) -> None:
    """Makes forward passes over more than some samples fail as an allocator does."""
    answer: Answer = learner._log_probs.logits

    def refusing(samples: Sequence[TokenisedSample], **weights: Any) -> tuple[Tensor, TokenBatch]:
        if len(samples) > most_samples:
            raise RuntimeError(message)
        return answer(samples, **weights)

    monkeypatch.setattr(learner._log_probs, "logits", refusing)


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."


@pytest.mark.parametrize("name", METHODS)
def test_micro_batch_is_halved_when_memory_runs_out_and_the_batch_stays(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole, whole_gradients = case(METHODS[name]).learn()
    short = case(METHODS[name])
    short_of_memory(monkeypatch, short.learner, most_samples=5, message=NO_MEMORY)

    found, gradients = short.learn()

    assert short.context.notes == [("out of memory, so micro-batches are halved", {"step": 1})]
    assert found.loss == pytest.approx(whole.loss, abs=1e-5)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, whole_gradients[parameter], atol=1e-5, rtol=1e-5, msg=parameter)


def test_micro_batch_is_halved_but_once(monkeypatch: pytest.MonkeyPatch) -> None:
    short = case(DaptMethod())
    short_of_memory(monkeypatch, short.learner, most_samples=1, message=NO_MEMORY)

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        short.learn()

    assert len(short.context.notes) == 1


def test_single_sample_that_does_not_fit_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    short = case(DaptMethod())
    short_of_memory(monkeypatch, short.learner, most_samples=0, message=NO_MEMORY)

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        short.learn(short.samples[:1])

    assert short.context.notes == []


def test_other_failures_of_a_pass_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = case(DaptMethod())
    short_of_memory(monkeypatch, broken.learner, most_samples=0, message="mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        broken.learn()

    assert broken.context.notes == []


def test_sample_without_a_token_to_learn_is_refused_by_id() -> None:
    target = make_trainable(made("llama"), FullParameters(), seed=0)
    method = RepairMethod(DaptMethod())
    masked = [*samples_of(1), TokenisedSample("masked", (3, 4), ((),))]

    with pytest.raises(DatasetInvalid, match="masked") as refused:
        Learner(target, masked, objective=objective_of(DaptMethod()), method=method, seed=0, context=QuietContext())

    assert refused.value.metadata == {"count": "1", "ids": "masked"}


def test_reference_that_is_not_finite_is_refused_before_the_first_step() -> None:
    model = made("llama")
    with torch.no_grad():
        model.get_parameter("model.norm.weight").fill_(float("inf"))
    target, samples = make_trainable(model, FullParameters(), seed=0), samples_of(2)
    method = RepairMethod(DpoMethod())
    learner = Learner(
        target, samples, objective=objective_of(DpoMethod()), method=method, seed=0, context=QuietContext()
    )

    with pytest.raises(LossNotFinite) as refused:
        learner.measure_reference(samples)

    assert refused.value.metadata == {"step": "0"}
