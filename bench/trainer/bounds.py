# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""The least arithmetic and memory that a training step of a Llama needs, by formula.

A batch of T tokens (a prompt once for all its continuations, the last token of each not at all) makes P predictions; C
is the sum over its tokens of the tokens that each one sees. A layer has N parameters in matrices, its adapters
included, of which M are trained; its width is d, that of keys d_kv, that of its MLP f. The head has H in V rows.

Operations: a layer forward 2 N T, and attention 4 d C; backward, if it or a layer below it is trained, 2 N T and
8 d C, and 2 M T for the gradients of the trained ones. The head forward 2 H P, backward 2 H P, and again if trained.
For a model trained as a whole that is 6 times parameters times tokens, but for attention and what the head is spared.

Bytes: 4 a weight; 12 more a trained one, for its gradient and two moments of AdamW; for each token and each layer that
has a backward pass, 4 (6 d + 2 d_kv + 3 f): the inputs of both norms and of the three groups of matrices behind a norm
or attention, queries, keys and values, and gate, up and their product; 8 V P for the logits and their gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from llm_repair.models.training.adapters import TrainableModel, transformer_layers
from llm_repair.models.training.batches import TokenisedSample


@dataclass(frozen=True)
class Work:
    """What a batch asks of a model."""

    tokens: int
    predictions: int
    seen: int

    @staticmethod
    def of(samples: Sequence[TokenisedSample]) -> Work:
        """Counts what must be read, and nothing twice."""
        tokens = predictions = seen = 0
        for sample in samples:
            prompt = len(sample.prompt)
            read = [len(ids) - 1 for ids in sample.continuations]
            tokens += prompt + sum(read)
            predictions += sum(len(ids) for ids in sample.continuations)
            seen += _sum_to(prompt) + sum(_sum_to(prompt + more) - _sum_to(prompt) for more in read)
        return Work(tokens, predictions, seen)


def step_flops(target: TrainableModel, work: Work) -> float:
    """Returns the operations of one optimizer step, without those of the optimizer."""
    model = target.model
    width = model.config.hidden_size
    flops = 0.0
    for layer, learns in _layers(model):
        held, trained = _matrix_parameters(layer)
        flops += 2 * held * work.tokens + 4 * width * work.seen
        flops += (2 * held * work.tokens + 8 * width * work.seen) * learns + 2 * trained * work.tokens
    held, trained = _matrix_parameters(_head(model))
    return flops + 2 * (2 * held + trained) * work.predictions


def step_bytes(target: TrainableModel, work: Work) -> int:
    """Returns the memory of one optimizer step that holds its whole batch at once."""
    model = target.model
    config = model.config
    keys = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    kept = 6 * config.hidden_size + 2 * keys + 3 * config.intermediate_size
    weights = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in target.parameters.values())
    learning_layers = sum(learns for _, learns in _layers(model))
    activations = kept * work.tokens * learning_layers + 2 * config.vocab_size * work.predictions
    return 4 * (weights + 3 * trained + activations)


def _layers(model: PreTrainedModel) -> Iterator[tuple[nn.Module, bool]]:
    """Yields each layer and whether it has a backward pass, which the lowest trained one starts."""
    learns = any(parameter.requires_grad for parameter in model.get_input_embeddings().parameters())
    for layer in transformer_layers(model):
        learns = learns or any(parameter.requires_grad for parameter in layer.parameters())
        yield layer, learns


def _matrix_parameters(module: nn.Module) -> tuple[int, int]:
    """Returns the parameters in matrices, and how many of them are trained."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim == 2]
    return sum(m.numel() for m in matrices), sum(m.numel() for m in matrices if m.requires_grad)


def _head(model: PreTrainedModel) -> nn.Module:
    head = model.get_output_embeddings()
    assert head is not None
    return head


def _sum_to(last: int) -> int:
    return last * (last + 1) // 2
