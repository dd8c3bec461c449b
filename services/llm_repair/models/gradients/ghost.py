"""Ghost norms: norms of per-sample gradients by one backward pass a batch, without any parameter's gradient.

Hooks keep what goes into each layer; autograd carries gradients to the layers' outputs only; each layer's rule turns
both into its squared norm for every sample (`layers`). The norm is that of the whole gradient, over all trained
parameters together. We differ from Opacus: no gradient of a parameter is formed for the batch, layers that read one
tensor share its Gram matrix, tied embeddings are exact, and norms by weight of normalising layers are in closed form.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_repair.models.gradients.head import OutputHead, Predictions
from llm_repair.models.gradients.layers import EmbeddingRule, Gram, LayerInput, Rule, Squares, gram
from llm_repair.models.gradients.loss import SampleLoss
from llm_repair.models.gradients.rules import RuleMissing, is_tied, layer_rules
from llm_repair.models.loading import context_tokens
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample, padded_batch

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.

REGISTER_COLUMNS = 8
"""Gram matrices of a multiple of so many tokens come up to twice as fast as their neighbours (MKL, AVX-512)."""
MOST_MORE_COLUMNS = 1 / 16
"""Padding that is worth it."""


class GhostNorms:
    """Squared gradient norms of samples at one model."""

    def __init__(self, target: TrainableModel, loss: SampleLoss, *, half: bool) -> None:
        """Finds the rule of every layer. half: bf16 autocast over fp32 weights.

        Raises:
          RuleMissing: a part of the model has none.
        """
        head = target.model.get_output_embeddings()
        if type(head) is not nn.Linear:
            raise RuleMissing("the output head is not one linear layer")
        self._target = target
        self._loss = loss
        self._half = half
        self._rules = layer_rules(target, head)
        self._tied = target.model.get_input_embeddings() if is_tied(target, head) else None
        self._head = OutputHead(head, half=half)
        self._context = context_tokens(target.model.config)
        self._takes_positions = "position_ids" in inspect.signature(target.model.base_model.forward).parameters

    def squares(self, samples: Sequence[TokenisedSample]) -> Squares:
        """Returns the squared norms of a batch, (samples,), fp64, in main memory.

        Raises:
          RuleMissing: a layer was called in a way that its rule does not know.
        """
        ids, owners, predictions = self._layout(samples)
        recording = _Recording(self._rules, len(samples))
        with self._parameters_at_rest(), torch.enable_grad():
            with recording.of_forward(), self._autocast():
                hidden = self._hidden(ids)
            with torch.no_grad():
                predictions = self._weighed(samples, owners, hidden, predictions)
                tied_ids = None if self._tied is None else ids.view(len(samples), -1)
                head = self._head.gradients(hidden, predictions, tied_ids)
            recording.parts += head.squares
            if self._tied is not None and head.at_inputs is not None:
                recording.crossing[self._tied] = head.at_inputs
            if hidden.requires_grad:
                torch.autograd.backward(hidden, head.hidden)
        return recording.sums()

    def _layout(self, samples: Sequence[TokenisedSample]) -> tuple[Tensor, Tensor, Predictions]:
        """Lays each continuation out in a row of its own; its last token predicts nothing and is not read.

        Returns the ids, (rows, columns), the row of each prediction, and the predictions, not weighed yet.
        """
        filled = [self._filled(sample) for sample in samples]
        batch = padded_batch(filled, prompt_in_loss=self._loss.prompt_in_loss).to(self._target.model.device)
        columns = batch.input_ids.shape[1]
        read = _full_registers(columns - 1, most=self._context)
        counts = torch.bincount(batch.owners, minlength=batch.sequences).view(len(samples), -1).sum(dim=1)
        predictions = Predictions(
            sources=batch.sources + batch.owners * (read - columns),
            targets=batch.targets,
            weights=torch.ones(len(batch.targets), 1, device=batch.owners.device),
            counts=counts.tolist(),
        )
        return functional.pad(batch.input_ids, (0, read - columns)), batch.owners, predictions

    def _filled(self, sample: TokenisedSample) -> TokenisedSample:
        """Returns the sample with as many continuations as any: a token in the place of one that is not there."""
        missing = self._loss.continuations - len(sample.continuations)
        return replace(sample, continuations=sample.continuations + (sample.continuations[0][:1],) * missing)

    def _weighed(
        self, samples: Sequence[TokenisedSample], owners: Tensor, hidden: Tensor, predictions: Predictions
    ) -> Predictions:
        """Returns the predictions with the weights of their continuations, 0 for one that is not there."""
        sides = self._loss.continuations
        means: list[list[float]] = [[]] * len(samples)
        if self._loss.needs_log_probs:
            found = self._head.log_probs(hidden, predictions)
            sums = found.new_zeros(len(samples) * sides).index_add_(0, owners, found)
            means = (sums / torch.bincount(owners, minlength=len(sums))).view(-1, sides).tolist()
        own = [self._loss.weights(sample, mean) for sample, mean in zip(samples, means, strict=True)]
        weights = torch.tensor([[*some, 0.0][:sides] for some in own], device=owners.device)
        return replace(predictions, weights=weights.flatten()[owners].unsqueeze(1))

    def _hidden(self, ids: Tensor) -> Tensor:
        """Returns the last hidden states. Padding is on the right, so a causal model needs no mask for it."""
        inputs: dict[str, Tensor] = {"input_ids": ids}
        if self._takes_positions:
            # In every row, so that position embeddings have a gradient in every row.
            inputs["position_ids"] = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return self._target.model.base_model(**inputs, use_cache=False).last_hidden_state

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._target.model.device.type, dtype=torch.bfloat16, enabled=self._half)

    @contextmanager
    def _parameters_at_rest(self) -> Generator[None]:
        """Asks autograd for no parameter's gradient."""
        parameters = list(self._target.parameters.values())
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)


def _full_registers(columns: int, *, most: int) -> int:
    """Returns the next multiple of `REGISTER_COLUMNS` where it is near and within `most`, else the number itself."""
    full = -(-columns // REGISTER_COLUMNS) * REGISTER_COLUMNS
    return full if full <= min(columns * (1 + MOST_MORE_COLUMNS), most) else columns


class _Recording:
    """Keeps the inputs of layers during one forward pass, until the gradients of their outputs arrive."""

    def __init__(self, rules: Mapping[nn.Module, Rule], samples: int) -> None:
        self.parts: list[Squares] = []
        self.crossing: dict[nn.Module, Tensor] = {}
        """For a tied embedding: (samples, tokens, width), the gradient of its other use at its input tokens."""
        self._rules = rules
        self._samples = samples
        self._inputs: dict[nn.Module, Tensor] = {}
        self._readers: Counter[int] = Counter()
        self._gram: tuple[Tensor, Gram] | None = None

    @contextmanager
    def of_forward(self) -> Generator[None]:
        """Watches the layers while the model runs."""
        handles = [layer.register_forward_hook(self._keep) for layer in self._rules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def sums(self) -> Squares:
        """Returns the sums over all layers."""
        whole, apart = (
            torch.stack([getattr(part, name) for part in self.parts]).double().sum(dim=0).cpu()
            for name in ("whole", "apart")
        )
        return Squares(whole, apart)

    def _keep(self, layer: nn.Module, arguments: tuple[object, ...], output: object) -> Tensor:
        kind = type(layer).__name__
        if layer in self._inputs:
            raise RuleMissing(f"a {kind} is used twice in one pass")
        values = arguments[0] if arguments else None
        if not isinstance(values, Tensor) or not isinstance(output, Tensor):
            raise RuleMissing(f"a {kind} is called with something else than one tensor")
        if len(values) != len(output) or len(output) % self._samples:
            raise RuleMissing(f"a {kind} is called with rows that are not those of the batch")
        self._inputs[layer] = values
        self._readers[id(values)] += 1
        if not output.requires_grad:
            # Nothing below is trained: the backward pass ends here. A copy, since some models go on in place.
            output = output.detach().requires_grad_().clone()
        output.register_hook(partial(self._arrive, layer))
        return output

    def _arrive(self, layer: nn.Module, gradients: Tensor) -> None:
        values = self._inputs.pop(layer)
        rule = self._rules[layer]
        inputs = LayerInput(
            values=self._by_sample(values),
            gram=lambda: self._shared_gram(values, gradients.dtype),
            readers=self._readers[id(values)],
        )
        outputs = self._by_sample(gradients)
        self.parts += rule.squares(inputs, outputs)
        if layer in self.crossing and isinstance(rule, EmbeddingRule):
            # ‖A + B‖² = ‖A‖² + ‖B‖² + 2 <A, B>.
            product = self.crossing[layer] * rule.learnt(inputs.values, outputs)
            crossed = 2 * product.sum(dim=(1, 2), dtype=torch.float32)
            self.parts.append(Squares(crossed, torch.zeros_like(crossed)))

    def _shared_gram(self, values: Tensor, dtype: torch.dtype) -> Gram:
        if self._gram is None or self._gram[0] is not values:
            self._gram = (values, gram(self._by_sample(values).to(dtype)))
        return self._gram[1]

    def _by_sample(self, values: Tensor) -> Tensor:
        """Puts the rows of a sample behind each other: (samples, tokens[, features])."""
        features = values.shape[-1:] if values.is_floating_point() else ()
        return values.detach().reshape(self._samples, -1, *features)
