"""The block of a model that is most sensitive to a loss, and training that block alone (IRepair).

The sensitivity of a block is the l2 norm of the gradient of all its parameters; blocks are the transformer layers, so
embeddings, final norm and output head are never chosen and never trained. Source: arXiv 2510.20428, `sr` (paper.md
§3). We differ: the release switches gradients off between two backward passes through one graph, which saves nothing
and works only because of how gradients are accumulated (paper.md §8.18); here the second pass sees the chosen block
as the only trainable one, so that it ends there.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from llm_repair.core.execution import StepContext
from llm_repair.models.training.adapters import TrainableModel, transformer_layers
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.faults import require_finite
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.models.training.sharding import whole


class Blocks:
    """The transformer layers of a model that may be trained, of which each step trains one."""

    def __init__(self, target: TrainableModel, ranks: Ranks = ALONE) -> None:
        """Takes gradients away from all trained parameters outside the transformer layers."""
        self._ranks = ranks
        trained = {id(parameter) for parameter in target.parameters.values()}
        layers = [
            [parameter for parameter in layer.parameters() if id(parameter) in trained]
            for layer in transformer_layers(target.model)
        ]
        self._blocks = {number: parameters for number, parameters in enumerate(layers) if parameters}
        inside = {id(parameter) for parameters in self._blocks.values() for parameter in parameters}
        for parameter in target.parameters.values():
            parameter.requires_grad_(id(parameter) in inside)

    def sensitivities(self) -> Mapping[int, float]:
        """Returns sqrt(Σ‖grad‖²) of each block, by its number from 0 at the input, off the gradients there are."""
        return {number: _norm(parameters) for number, parameters in self._blocks.items()}

    def most_sensitive(
        self, log_probs: LogProbs, samples: Sequence[TokenisedSample], step: int, context: StepContext
    ) -> int:
        """Returns the block most sensitive to the loss per token of the samples' last continuations.

        Leaves the gradients of that loss. Costs a pass through the whole model, forward and backward.

        Raises:
          LossNotFinite: a sensitivity is NaN or infinite; carries the step.
        """
        unwanted = [replace(sample, continuations=sample.continuations[-1:]) for sample in samples]
        weight = sum(log_probs.learnt_tokens(sample) for sample in unwanted)
        for part in log_probs.shares(unwanted, context):
            scores, tokens = log_probs.of(part.samples)
            torch.autograd.backward(-part.weight * scores.sum() / weight)
            context.count(tokens=tokens * part.weight)
        self._ranks.add_up(parameter for parameters in self._blocks.values() for parameter in parameters)
        sensitivities = self.sensitivities()
        require_finite(sum(sensitivities.values()), step, "sensitivity of a block")
        return largest(sensitivities)

    @contextmanager
    def only(self, block: int) -> Generator[None]:
        """Asks for the gradients of one block alone; no parameter of another is touched by a step meanwhile.

        Gradients there were are dropped: an optimizer skips a parameter without one, its moments included.
        """
        for number, parameters in self._blocks.items():
            for parameter in parameters:
                parameter.grad = None
                parameter.requires_grad_(number == block)
        try:
            yield
        finally:
            for parameters in self._blocks.values():
                for parameter in parameters:
                    parameter.requires_grad_(True)


def largest(sensitivities: Mapping[int, float]) -> int:
    """Returns the block of the largest sensitivity; of equal ones the lowest."""
    return max(sorted(sensitivities), key=lambda block: sensitivities[block])


def _norm(parameters: Sequence[nn.Parameter]) -> float:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(whole(nn.utils.get_total_norm(gradients)))
