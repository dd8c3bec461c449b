"""Log-probabilities of continuations under a causal model, with logits only where one is predicted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from llm_repair.models.training.batches import TokenBatch, TokenisedSample, padded_batch
from llm_repair.models.training.packing import packed_batch

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers builds its models from untyped attributes.

LAYOUT_TOLERANCE = 1e-3
"""Largest difference in nats, per sequence, at which a faster form counts as equal to the plain one. Rounding in
fp32 stays near 1e-5; a layer that ignores the mask or a scaled head is off by far more."""

PART_TOKENS = 4096
"""Tokens read in one forward pass at most; bounds the activations kept for the backward pass."""

PART_LOGITS = 1 << 26
"""Logits computed in one forward pass at most: 256 MiB in fp32, held about three times over in training."""

PROBES = 4
"""Samples on which the faster forms are compared with the plain one."""

Layout = Callable[[Sequence[TokenisedSample]], TokenBatch]


class LogProbs:
    """Log-probabilities of samples under one model, by the fastest form that gives the plain form's numbers."""

    def __init__(
        self, model: PreTrainedModel, samples: Sequence[TokenisedSample], *, prompt_in_loss: bool, half: bool
    ) -> None:
        """Chooses layout and head by comparing them on the first samples.

        prompt_in_loss: counts the prompt's tokens too. half: bf16 autocast over fp32 weights.
        """
        probes = samples[:PROBES]
        self._model = model
        self._prompt_in_loss = prompt_in_loss
        self._half = half
        self._vocabulary = int(model.config.vocab_size)
        self._layout = layout_for(model, probes, prompt_in_loss=prompt_in_loss)
        self._gathered = head_is_linear(model, probes[0])

    def of(self, samples: Sequence[TokenisedSample]) -> tuple[Tensor, int]:
        """Returns log p of each continuation, (samples, continuations), and the number of tokens read."""
        batch = self._layout(samples).to(self._model.device)
        with self._precision():
            log_probs = continuation_log_probs(self._model, batch, gathered=self._gathered)
        return log_probs.view(len(samples), -1), batch.tokens

    def logits(self, samples: Sequence[TokenisedSample]) -> tuple[Tensor, TokenBatch]:
        """Returns the logits behind every counted token, (predictions, vocab), fp32, and the batch that names them.

        The predictions of a sequence stand in the order of its tokens, those of different sequences in any order.
        """
        batch = self._layout(samples).to(self._model.device)
        with self._precision():
            return predicting_logits(self._model, batch, gathered=self._gathered), batch

    def parts(self, samples: Sequence[TokenisedSample]) -> Iterator[Sequence[TokenisedSample]]:
        """Cuts samples into runs that fit in memory, in their order; a function of the samples alone."""
        start, tokens, logits = 0, 0, 0
        for end, sample in enumerate(samples):
            tokens += sample.tokens
            logits += self.learnt_tokens(sample) * self._vocabulary
            if end > start and (tokens > PART_TOKENS or logits > PART_LOGITS):
                yield samples[start:end]
                start, tokens, logits = end, sample.tokens, self.learnt_tokens(sample) * self._vocabulary
        yield samples[start:]

    def learnt_tokens(self, sample: TokenisedSample) -> int:
        """Returns how many tokens of a sample are predicted, over all its continuations."""
        prompt = len(sample.prompt) - 1 if self._prompt_in_loss else 0
        return sum(prompt + len(continuation) for continuation in sample.continuations)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._model.device.type, dtype=torch.bfloat16, enabled=self._half)


def continuation_log_probs(model: PreTrainedModel, batch: TokenBatch, *, gathered: bool = True) -> Tensor:
    """Returns log p of each sequence of the batch, summed over its counted tokens: (sequences,), fp32, nats."""
    logits = predicting_logits(model, batch, gathered=gathered)
    scores = -functional.cross_entropy(logits, batch.targets, reduction="none")
    return scores.new_zeros(batch.sequences).index_add(0, batch.owners, scores)


def predicting_logits(model: PreTrainedModel, batch: TokenBatch, *, gathered: bool = True) -> Tensor:
    """Returns the logits at the positions that predict the batch's targets: (predictions, vocab), fp32.

    gathered: runs the output head at predicting positions only, which keeps logits at (predictions, vocab) and
    not (rows, columns, vocab); right for models whose head is one linear layer (see `head_is_linear`).
    """
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
    if _takes_positions(model):
        inputs["position_ids"] = batch.position_ids
    if gathered:
        hidden = model.base_model(**inputs).last_hidden_state
        logits = _output_head(model)(hidden.flatten(0, 1)[batch.sources])
    else:
        logits = model(**inputs).logits.flatten(0, 1)[batch.sources]
    return logits.float()


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
    return bool((plain - quick).abs().max() <= LAYOUT_TOLERANCE)


def layout_for(model: PreTrainedModel, samples: Sequence[TokenisedSample], *, prompt_in_loss: bool) -> Layout:
    """Returns the packed layout where the model gives the same log-probabilities under it, else the padded one.

    samples: a few, to compare on. Models with linear attention or a local window see other tokens than the mask of
    a packed row allows.
    """

    def packed(chosen: Sequence[TokenisedSample]) -> TokenBatch:
        return packed_batch(chosen, prompt_in_loss=prompt_in_loss)

    def padded(chosen: Sequence[TokenisedSample]) -> TokenBatch:
        return padded_batch(chosen, prompt_in_loss=prompt_in_loss)

    if not (_takes_positions(model) and _attends_everywhere(model)):
        return padded
    with torch.no_grad():
        expected = continuation_log_probs(model, padded(samples).to(model.device), gathered=False)
        found = continuation_log_probs(model, packed(samples).to(model.device), gathered=False)
    return packed if bool((expected - found).abs().max() <= LAYOUT_TOLERANCE) else padded


def _attends_everywhere(model: PreTrainedModel) -> bool:
    """Says whether no layer has a local window, which few short samples would not show."""
    config = model.config
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return all(kind == "full_attention" for kind in kinds) and not window


def _takes_positions(model: PreTrainedModel) -> bool:
    """Says whether positions can be given; models with ALiBi derive them from the mask and cannot be packed."""
    return "position_ids" in inspect.signature(model.base_model.forward).parameters


def _output_head(model: PreTrainedModel) -> nn.Linear:
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    return head
