"""Tiny models of every shape with ghost norms, samples of mixed lengths, and an oracle: autograd on one sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from llm_repair.core.repair import DaptMethod, DpoMethod, ExmateMethod, KtoMethod, Method, RepairMethod
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.objectives import dpo_loss, exmate_loss, kto_loss

VOCABULARY = 40
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
WIDTHS = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
SPREAD = {"vocab_size": VOCABULARY, "initializer_range": 0.15}


def gpt2(tied: bool) -> PreTrainedModel:
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, tie_word_embeddings=tied, **SPREAD, **IDS)
    return GPT2LMHeadModel(config)


def gpt_neo(tied: bool) -> PreTrainedModel:
    """With a local window of 4 tokens in its second layer."""
    config = GPTNeoConfig(
        hidden_size=16,
        num_layers=2,
        attention_types=[[["global", "local"], 1]],
        num_heads=2,
        window_size=4,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        **SPREAD,
        **IDS,
    )
    return GPTNeoForCausalLM(config)


def pythia(tied: bool) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(tie_word_embeddings=tied, **WIDTHS, **SPREAD, **IDS))


def llama(tied: bool) -> PreTrainedModel:
    """Without any bias where tied, as SmolLM; with all it can have where not."""
    bias = {"attention_bias": not tied, "mlp_bias": not tied}
    config = LlamaConfig(num_key_value_heads=2, tie_word_embeddings=tied, **bias, **WIDTHS, **SPREAD, **IDS)
    return LlamaForCausalLM(config)


def qwen2(tied: bool) -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, tie_word_embeddings=tied, **WIDTHS, **SPREAD, **IDS))


def qwen3(tied: bool) -> PreTrainedModel:
    """Normalises queries and keys head by head."""
    config = Qwen3Config(num_key_value_heads=2, head_dim=8, tie_word_embeddings=tied, **WIDTHS, **SPREAD, **IDS)
    return Qwen3ForCausalLM(config)


def phi(tied: bool) -> PreTrainedModel:
    """Its output head has a bias."""
    return PhiForCausalLM(PhiConfig(tie_word_embeddings=tied, **WIDTHS, **SPREAD, **IDS))


SHAPES: Mapping[str, Callable[[bool], PreTrainedModel]] = {
    make.__name__: make for make in (gpt2, gpt_neo, pythia, llama, qwen2, qwen3, phi)
}


def made(shape: str, *, tied: bool = True) -> PreTrainedModel:
    """Returns a model whose biases and norm weights are not 0 and 1, which would hide mistakes."""
    torch.manual_seed(0)
    model = SHAPES[shape](tied)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter.data, mean=float(parameter.detach().mean()), std=0.2)
    return model.eval()


def stir_adapters(target: TrainableModel) -> None:
    """Gives adapters weights other than zero, so that both matrices have gradients."""
    if target.adapters is not None:
        for parameter in target.parameters.values():
            nn.init.normal_(parameter.data, std=0.05)


def samples_of(continuations: int, *, seed: int = 0) -> list[TokenisedSample]:
    """Returns samples of 2 to 42 tokens; the longer ones repeat tokens of the small vocabulary."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (count,), generator=generator).tolist())

    lengths = [(3, 5), (1, 1), (7, 12), (2, 20), (12, 2), (30, 10)]
    return [
        TokenisedSample(f"s{number}", tokens(prompt), tuple(tokens(own + 2 * part) for part in range(continuations)))
        for number, (prompt, own) in enumerate(lengths)
    ]


def expected_norm(target: TrainableModel, sample: TokenisedSample, method: RepairMethod) -> float:
    """Returns the norm of the concatenated gradient of one sample's loss, by the definition of its method."""
    with_prompt = method.prompt_in_loss and isinstance(method.objective, DaptMethod)
    learnt = [_log_probs(target, sample.prompt, part, with_prompt=with_prompt) for part in sample.continuations]
    loss = _loss(method.objective, sample, learnt)
    gradients = torch.autograd.grad(loss, list(target.parameters.values()), materialize_grads=True)
    return float(torch.cat([gradient.flatten() for gradient in gradients]).double().norm())


def _loss(objective: Method, sample: TokenisedSample, learnt: list[Tensor]) -> Tensor:
    """Returns the loss of a sample from the log p of its learnt tokens, (tokens,) each; its reference is the model."""
    sums = [log_probs.sum() for log_probs in learnt]
    match objective:
        case DaptMethod():
            return -learnt[0].mean()
        case DpoMethod(beta=beta):
            return _dpo(*sums, beta)
        case ExmateMethod(penalty_weight=penalty, dpo_weight=weight, beta=beta):
            chosen, rejected = (log_probs.mean() for log_probs in learnt)
            return exmate_loss(chosen, rejected, penalty_weight=penalty) + weight * _dpo(*sums, beta)
        case KtoMethod(beta=beta, desirable_weight=wanted, undesirable_weight=unwanted):
            sides = [True, False] if len(sums) == 2 else [sample.desirable]
            return torch.stack(
                [
                    (wanted if side else unwanted)
                    * kto_loss(total - total.detach(), torch.tensor(side), torch.zeros(()), beta=beta)
                    for side, total in zip(sides, sums, strict=True)
                ]
            ).sum()
        case other:
            raise ValueError(f"{type(other).__name__} has no oracle")


def _dpo(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    return dpo_loss(chosen, rejected, chosen.detach(), rejected.detach(), beta=beta).losses


def _log_probs(
    target: TrainableModel, prompt: tuple[int, ...], continuation: tuple[int, ...], *, with_prompt: bool
) -> Tensor:
    """Returns log p of the learnt tokens, (tokens,)."""
    ids = torch.tensor([[*prompt, *continuation]])
    scores = torch.log_softmax(target.model(ids).logits[0, :-1], dim=-1)
    log_probs = scores.gather(1, ids[0, 1:, None])[:, 0]
    return log_probs if with_prompt else log_probs[len(prompt) - 1 :]
