"""From tokens to logits and log-probabilities: a causal model read at the positions that predict something."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from transformers import PreTrainedModel

from llm_repair.models.training.batches import TokenBatch, TokenisedSample, padded_batch

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers builds its models from untyped attributes.

READOUT_TOLERANCE = 1e-3
"""Largest difference in nats, per sequence, at which a faster form counts as equal to the plain one. Rounding in
fp32 stays near 1e-5; a layer that ignores the mask or a scaled head is off by far more."""


_CACHED_LOGITS = 1 << 20
"""4 MiB in fp32."""


class Readout(nn.Module):
    """A causal model whose output is the logits behind a batch's targets: (predictions, vocab), fp32."""

    def __init__(self, model: PreTrainedModel, *, gathered: bool) -> None:
        """Wraps a model.

        gathered: runs the output head at predicting positions only, which keeps logits at (predictions, vocab) and
        not (rows, columns, vocab); right for models whose head is one linear layer (see `head_is_linear`).
        """
        super().__init__()
        self.model = model
        self._gathered = gathered

    def forward(self, batch: TokenBatch) -> Tensor:
        """Returns the logits; the predictions of a sequence stand in the order of its tokens."""
        inputs = {"input_ids": batch.input_ids, "attention_mask": self._mask(batch.attention_mask), "use_cache": False}
        if takes_positions(self.model):
            inputs["position_ids"] = batch.position_ids
        if self._gathered:
            hidden = self.model.base_model(**inputs).last_hidden_state
            head = self.model.get_output_embeddings()
            assert isinstance(head, nn.Linear)
            return head(hidden.flatten(0, 1)[batch.sources]).float()
        return self.model(**inputs).logits.flatten(0, 1)[batch.sources].float()

    def under(self, weights: Mapping[str, Tensor], batch: TokenBatch) -> Tensor:
        """Returns the logits with other weights in the place of those named; tied ones are replaced together."""
        logits = functional_call(self, {f"model.{name}": value for name, value in weights.items()}, (batch,))
        assert isinstance(logits, Tensor)
        return logits

    def _mask(self, mask: Tensor) -> Tensor:
        """Returns a mask of pairs as the model's attention reads it: eager attention adds it to its scores."""
        if mask.dim() == 2 or self.model.config._attn_implementation != "eager":  # pyright: ignore[reportPrivateUsage]
            return mask
        return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, torch.finfo(torch.float32).min)


def continuation_log_probs(model: PreTrainedModel, batch: TokenBatch, *, gathered: bool = True) -> Tensor:
    """Returns log p of each sequence of the batch, summed over its counted tokens: (sequences,), fp32, nats."""
    return summed_log_probs(Readout(model, gathered=gathered)(batch), batch)


def summed_log_probs(logits: Tensor, batch: TokenBatch) -> Tensor:
    """Returns log p of each sequence, (sequences,), from the logits behind the targets."""
    # Only a backward pass needs all log-probabilities; in pieces that stay in the cache they are the same, and sooner.
    cached = max(_CACHED_LOGITS // logits.shape[1], torch.get_num_threads())
    rows = len(logits) if torch.is_grad_enabled() else cached
    pieces = zip(logits.split(rows), batch.targets.split(rows), strict=True)
    scores = -torch.cat([functional.cross_entropy(*piece, reduction="none") for piece in pieces])
    return scores.new_zeros(batch.sequences).index_add(0, batch.owners, scores)


def head_is_linear(model: PreTrainedModel, sample: TokenisedSample) -> bool:
    """Says whether logits are one linear layer of the last hidden states, by comparing both on one sample.

    Some architectures scale or cap their logits after the head; those must go the plain way.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or model.base_model is model:
        return False
    batch = padded_batch([sample]).to(model.device)
    with torch.no_grad():
        plain = continuation_log_probs(model, batch, gathered=False)
        quick = continuation_log_probs(model, batch, gathered=True)
    return bool((plain - quick).abs().max() <= READOUT_TOLERANCE)


def takes_positions(model: PreTrainedModel) -> bool:
    """Says whether positions can be given; models with ALiBi derive them from the mask and cannot be packed."""
    has_alibi = bool(getattr(model.config, "alibi", False))  # by option in Falcon, whose forward names both
    return not has_alibi and "position_ids" in inspect.signature(model.base_model.forward).parameters
