"""The block most sensitive to the unwanted continuations is found, and it alone is updated."""

from __future__ import annotations

import copy

import pytest
import torch
from gradient_models import made, samples_of
from training_oracle import QuietContext, log_prob
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from llm_repair.core.errors import LossNotFinite
from llm_repair.core.repair import FullParameters, IrepairMethod, Optimizer, RepairMethod
from llm_repair.models.training import log_probs
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.learner import Learner
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.sensitivity import Blocks, largest
from llm_repair.trainer.methods import objective_of

SAMPLES = samples_of(2)


def deep(layers: int = 4) -> PreTrainedModel:
    """A Llama whose layers differ, so that their sensitivities do."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        initializer_range=0.15,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def most_sensitive(target: TrainableModel, blocks: Blocks) -> int:
    return blocks.most_sensitive(
        LogProbs(target.model, SAMPLES, prompt_in_loss=False, half=False), SAMPLES, 3, QuietContext()
    )


def expected_sensitivities(model: PreTrainedModel) -> list[float]:
    """The oracle: autograd on the mean over tokens of the rejected continuations, layer by layer."""
    tokens = sum(len(sample.continuations[1]) for sample in SAMPLES)
    loss = -torch.stack([log_prob(model, s.prompt, s.continuations[1]) for s in SAMPLES]).sum() / tokens
    gradients = [torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True) for layer in model.model.layers]
    return [float(torch.cat([g.flatten() for g in layer]).double().norm()) for layer in gradients]


@pytest.mark.parametrize("part_tokens", [4096, 40], ids=["whole", "in parts"])
def test_sensitivity_is_the_norm_of_all_gradients_of_a_block(monkeypatch: pytest.MonkeyPatch, part_tokens: int) -> None:
    monkeypatch.setattr(log_probs, "PART_TOKENS", part_tokens)
    expected = expected_sensitivities(copy.deepcopy(deep()))
    target = make_trainable(deep(), FullParameters(), seed=0)
    blocks = Blocks(target)

    chosen = most_sensitive(target, blocks)

    assert list(blocks.sensitivities().values()) == pytest.approx(expected, rel=1e-4)
    assert chosen == expected.index(max(expected))


def test_of_equal_sensitivities_the_lowest_block_is_the_largest() -> None:
    assert largest({2: 1.0, 0: 0.5, 3: 1.0}) == 2


def test_blocks_are_those_of_the_trained_layers() -> None:
    target = make_trainable(deep(), FullParameters(layers=(1, 3)), seed=0)
    blocks = Blocks(target)

    chosen = most_sensitive(target, blocks)

    assert list(blocks.sensitivities()) == [1, 3]
    assert chosen in (1, 3)


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neo", "pythia", "llama", "qwen2", "qwen3"])
def test_embeddings_final_norm_and_head_are_never_trained(shape: str) -> None:
    model = made(shape, tied=False)
    target = make_trainable(model, FullParameters(), seed=0)

    Blocks(target)

    outside = {name for name, value in model.named_parameters() if not value.requires_grad}
    inside = {name.split(".")[2] for name in target.parameters}
    assert inside == {"0", "1"}
    assert not any(part in name for name in outside for part in (".h.", ".layers."))
    assert outside


def test_only_the_block_has_gradients_and_others_come_back_afterwards() -> None:
    target = make_trainable(deep(), FullParameters(), seed=0)
    blocks = Blocks(target)
    most_sensitive(target, blocks)

    with blocks.only(2):
        while_training = list(target.parameters)
        left_over = [name for name, value in target.model.named_parameters() if value.grad is not None]

    assert {name.split(".")[2] for name in while_training} == {"2"}
    assert left_over == []
    assert {name.split(".")[2] for name in target.parameters} == {"0", "1", "2", "3"}


@pytest.mark.parametrize("optimizer", Optimizer)
def test_step_touches_neither_weights_nor_moments_of_other_blocks(optimizer: Optimizer) -> None:
    """Weight decay included: AdamW would shrink what it is given, gradient or zero."""
    target = make_trainable(deep(), FullParameters(), seed=0)
    method = RepairMethod(IrepairMethod(), FullParameters(), optimizer=optimizer, weight_decay=0.1)
    objective = objective_of(IrepairMethod())
    learner = Learner(target, SAMPLES, objective=objective, method=method, seed=0, context=QuietContext())
    learner.remember(SAMPLES, learner.measure_reference(SAMPLES))
    stepping: torch.optim.Optimizer = (
        torch.optim.AdamW(target.parameters.values(), lr=1e-2, weight_decay=0.1, fused=True)
        if optimizer is Optimizer.ADAMW
        else torch.optim.RMSprop(target.parameters.values(), lr=1e-2, weight_decay=0.1)
    )
    before = {name: value.detach().clone() for name, value in target.model.named_parameters()}

    block = learner.learn(SAMPLES, 1).block
    stepping.step()

    changed = {name for name, value in target.model.named_parameters() if not torch.equal(value, before[name])}
    with_state = {name for name, value in target.parameters.items() if stepping.state[value]}
    assert changed == with_state == {name for name in target.parameters if name.split(".")[2] == str(block)}


def test_sensitivity_that_is_not_finite_is_refused_with_its_step() -> None:
    target = make_trainable(deep(), FullParameters(), seed=0)
    blocks = Blocks(target)
    with torch.no_grad():
        target.model.get_parameter("model.layers.1.mlp.up_proj.weight").fill_(float("nan"))

    with pytest.raises(LossNotFinite) as refused:
        most_sensitive(target, blocks)

    assert refused.value.metadata == {"step": "3"}
