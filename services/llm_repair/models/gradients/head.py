"""The output head: its own gradient and that of the hidden states, in closed form and without an autograd graph.

The gradient of a token's negative log-likelihood by its logits is softmax(logits) - onehot(target). Logits of a few
samples lie in memory at once, never those of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_repair.models.gradients.layers import Squares, matrix_squares, vector_squares

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's functions are partly untyped.

LOGITS = 1 << 19
"""Logits held at once on a processor: 2 MiB in fp32, which stays in its cache while it is read several times."""
LEAST_PREDICTIONS = 256
"""Held at once in any case, so that a large output matrix is not read for a handful of rows."""
ACCELERATOR_LOGITS = 1 << 27


@dataclass(frozen=True)
class Predictions:
    """What a batch of samples predicts: the learnt tokens, sample after sample."""

    sources: Tensor
    """(predictions,), flat positions of the hidden states."""
    targets: Tensor
    """(predictions,)."""
    weights: Tensor
    """(predictions, 1), fp32, of each token's negative log-likelihood."""
    counts: Sequence[int]
    """Predictions of each sample, at least one."""

    def runs(self, most: int) -> Iterator[Predictions]:
        """Yields runs of samples with at most so many predictions together, or of one sample."""
        first, start, held = 0, 0, 0
        for sample, count in enumerate([*self.counts, most]):
            if held and held + count > most:
                span = slice(start, start + held)
                counts = self.counts[first:sample]
                yield Predictions(self.sources[span], self.targets[span], self.weights[span], counts)
                first, start, held = sample, start + held, 0
            held += count


@dataclass(frozen=True)
class HeadGradients:
    """What follows from the hidden states of a batch."""

    hidden: Tensor
    """Gradient of the weighted losses by the hidden states, in their shape."""
    squares: Sequence[Squares]
    """Parts of the squared norm of the head's own gradient; none where it is not trained."""
    at_inputs: Tensor | None
    """(samples, tokens, width): the rows of the head's gradient at the input tokens; for tied weights."""


class OutputHead:
    """One linear layer from hidden states to logits."""

    def __init__(self, layer: nn.Linear, *, half: bool) -> None:
        """half: products in bf16, as under autocast; softmax and sums are in fp32."""
        dtype = torch.bfloat16 if half else layer.weight.dtype
        bias = dict(layer.named_parameters(recurse=False)).get("bias")
        self._matrix = layer.weight.detach().to(dtype)
        self._offset = None if bias is None else bias.detach().to(dtype)
        self._trains_weight = layer.weight.requires_grad
        self._trains_bias = bias is not None and bias.requires_grad
        limit = LOGITS if self._matrix.device.type == "cpu" else ACCELERATOR_LOGITS
        self._most = max(LEAST_PREDICTIONS, limit // len(self._matrix))

    def gradients(self, hidden: Tensor, predictions: Predictions, tied_ids: Tensor | None) -> HeadGradients:
        """Returns what follows from the hidden states, (rows, columns, width).

        tied_ids: (samples, tokens), the input tokens where the head's matrix is the input embedding too.
        """
        states = hidden.detach().flatten(0, 1)
        result = torch.zeros_like(states)
        weight_parts: list[Squares] = []
        bias_parts: list[Squares] = []
        at_inputs: list[Tensor] = []
        for run in predictions.runs(self._most):
            read = states[run.sources]
            errors = self._errors(read, run.targets)
            result[run.sources] = ((errors @ self._matrix) * run.weights).to(result.dtype)
            weighted = (read * run.weights).to(errors.dtype)
            for inputs, own in zip(weighted.split(run.counts), errors.split(run.counts), strict=True):
                if self._trains_weight:
                    weight_parts.append(matrix_squares(inputs.unsqueeze(0), own.unsqueeze(0)))
                if tied_ids is not None:
                    at_inputs.append(own[:, tied_ids[len(at_inputs)]].T @ inputs)
            if self._trains_bias:
                sums = torch.cat([part.sum(0, keepdim=True) for part in (errors * run.weights).split(run.counts)])
                bias_parts.append(vector_squares(sums))
        parts = [_joined(parts) for parts in (weight_parts, bias_parts) if parts]
        return HeadGradients(result.view_as(hidden), parts, torch.stack(at_inputs) if at_inputs else None)

    def log_probs(self, hidden: Tensor, predictions: Predictions) -> Tensor:
        """Returns log p of each target, (predictions,), fp32; hidden: (rows, columns, width)."""
        states = hidden.detach().flatten(0, 1)
        losses = [
            functional.cross_entropy(self._logits(states[run.sources]).float(), run.targets, reduction="none")
            for run in predictions.runs(self._most)
        ]
        return -torch.cat(losses)

    def _errors(self, states: Tensor, targets: Tensor) -> Tensor:
        """Returns softmax(logits) - onehot(target), (predictions, vocabulary)."""
        errors = torch.softmax(self._logits(states), dim=-1, dtype=torch.float32)
        errors[torch.arange(len(targets), device=targets.device), targets] -= 1
        return errors.to(self._matrix.dtype)

    def _logits(self, states: Tensor) -> Tensor:
        return functional.linear(states.to(self._matrix.dtype), self._matrix, self._offset)


def _joined(parts: Sequence[Squares]) -> Squares:
    return Squares(torch.cat([part.whole for part in parts]), torch.cat([part.apart for part in parts]))
