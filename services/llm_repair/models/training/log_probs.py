"""Log-probabilities of samples under a model in training or its reference, in parts that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llm_repair.models.training.batches import TokenBatch, TokenisedSample
from llm_repair.models.training.layouts import layout_for
from llm_repair.models.training.readout import Readout, head_is_linear, summed_log_probs

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers builds its models from untyped attributes.

PART_TOKENS = 4096
"""Tokens read in one forward pass at most; bounds the activations kept for the backward pass."""

PART_LOGITS = 1 << 26
"""Logits computed in one forward pass at most: 256 MiB in fp32, held about three times over in training."""

PROBES = 4
"""Samples on which the faster forms are compared with the plain one."""


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
        self._readout = Readout(model, gathered=head_is_linear(model, probes[0]))
        self._most_tokens = PART_TOKENS
        self._most_logits = PART_LOGITS
        self._cut = _Cut(0, 0, 0)

    def of(
        self, samples: Sequence[TokenisedSample], *, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, int]:
        """Returns log p of each continuation, (samples, continuations), and the number of tokens read.

        weights: used in the place of the parameters of these names, if given.
        """
        logits, batch = self.logits(samples, weights=weights)
        return summed_log_probs(logits, batch).view(len(samples), -1), batch.tokens

    def logits(
        self, samples: Sequence[TokenisedSample], *, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, TokenBatch]:
        """Returns the logits behind every counted token, (predictions, vocab), fp32, and the batch that names them.

        The predictions of a sequence stand in the order of its tokens, those of different sequences in any order.
        """
        batch = self._layout(samples).to(self._model.device)
        with torch.autocast(self._model.device.type, dtype=torch.bfloat16, enabled=self._half):
            logits = self._readout(batch) if weights is None else self._readout.under(weights, batch)
        return logits, batch

    def parts(self, samples: Sequence[TokenisedSample], *, copies: int = 1) -> Iterator[Sequence[TokenisedSample]]:
        """Cuts samples into runs that fit in memory, in their order; a function of the samples and earlier halvings.

        copies: how many times the logits of a part are held, compared with the summing of log-probabilities.
        """
        start = 0
        while start < len(samples):
            self._cut = self._first_part(samples[start:], copies)
            yield samples[start : start + self._cut.samples]
            start += self._cut.samples

    def halve(self) -> bool:
        """Makes the parts to come half as large as the one cut last; returns False if that was a single sample."""
        if self._cut.samples < 2:
            return False
        self._most_tokens, self._most_logits = self._cut.tokens // 2, self._cut.logits // 2
        return True

    def learnt_tokens(self, sample: TokenisedSample) -> int:
        """Returns how many tokens of a sample are predicted, over all its continuations."""
        return sum(self._learnt(sample))

    def lengths(self, samples: Sequence[TokenisedSample]) -> Tensor:
        """Returns how many tokens of each continuation are predicted, (samples, continuations)."""
        return torch.tensor([self._learnt(sample) for sample in samples], device=self._model.device)

    def _learnt(self, sample: TokenisedSample) -> list[int]:
        prompt = len(sample.prompt) - 1 if self._prompt_in_loss else 0
        return [prompt + len(continuation) for continuation in sample.continuations]

    def _first_part(self, samples: Sequence[TokenisedSample], copies: int) -> _Cut:
        """Returns how much of the samples fits in memory, at least one of them."""
        part = _Cut(0, 0, 0)
        for sample in samples:
            logits = self.learnt_tokens(sample) * self._vocabulary * copies
            longer = _Cut(part.samples + 1, part.tokens + sample.tokens, part.logits + logits)
            if part.samples and (longer.tokens > self._most_tokens or longer.logits > self._most_logits):
                break
            part = longer
        return part


@dataclass(frozen=True)
class _Cut:
    """The size of a part."""

    samples: int
    tokens: int
    logits: int
    """As held in memory, copies counted."""
