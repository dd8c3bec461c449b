"""Log-probabilities of samples under a model in training or its reference, in parts that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llm_repair.core.execution import StepContext
from llm_repair.models.training.adapters import transformer_layers
from llm_repair.models.training.batches import TokenBatch, TokenisedSample
from llm_repair.models.training.frozen import FrozenLayers
from llm_repair.models.training.layouts import layout_for
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.models.training.readout import Readout, head_is_linear, summed_log_probs
from llm_repair.models.training.sharding import replaced, shard
from llm_repair.models.training.shares import Part, dealt, stand_in

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
        self,
        model: PreTrainedModel,
        samples: Sequence[TokenisedSample],
        *,
        prompt_in_loss: bool,
        half: bool,
        frozen: Sequence[nn.Module] = (),
        ranks: Ranks = ALONE,
        halved: bool = False,
    ) -> None:
        """Chooses layout and head by comparing them on the first samples; then shards the weights if the ranks do.

        prompt_in_loss: counts the prompt's tokens too. half: bf16 autocast over fp32 weights. frozen: the layers from
        the input up that no reading ever changes. halved: see `halve`.
        """
        probes = samples[:PROBES]
        self._model = model
        self._prompt_in_loss = prompt_in_loss
        self._half = half
        self._vocabulary = int(model.config.vocab_size)
        self._layout = layout_for(model, probes, prompt_in_loss=prompt_in_loss)
        self._readout = Readout(model, gathered=head_is_linear(model, probes[0]))
        self._frozen = FrozenLayers([])
        self._ranks = ranks
        self._halved = halved
        self._cut = _Cut(0, 0, 0)
        if ranks.shards:
            # A layer in parts must be put together by all ranks at each pass, so none is ever spared.
            shard(self._readout, transformer_layers(model), ranks)
        elif frozen:
            self._spare(frozen, probes[:1])

    def of(
        self, samples: Sequence[TokenisedSample], *, weights: Mapping[str, Tensor] | None = None, repeated: bool = False
    ) -> tuple[Tensor, int]:
        """Returns log p of each continuation, (samples, continuations), and the number of tokens read.

        weights: used in the place of the parameters of these names, if given. repeated: the same samples together are
        read more than once in a run, so the frozen layers are spared from the second time on.
        """
        logits, batch = self.logits(samples, weights=weights, repeated=repeated)
        return summed_log_probs(logits, batch).view(len(samples), -1), batch.tokens

    def logits(
        self, samples: Sequence[TokenisedSample], *, weights: Mapping[str, Tensor] | None = None, repeated: bool = False
    ) -> tuple[Tensor, TokenBatch]:
        """Returns the logits behind every counted token, (predictions, vocab), fp32, and the batch that names them.

        The predictions of a sequence stand in the order of its tokens, those of different sequences in any order.
        """
        batch = self._layout(samples).to(self._model.device)
        with torch.autocast(self._model.device.type, dtype=torch.bfloat16, enabled=self._half):
            read = partial(self._read, batch, weights)
            return self._frozen.passed_once(tuple(samples), read) if repeated else read(), batch

    @torch.no_grad()
    def _spare(self, frozen: Sequence[nn.Module], probes: Sequence[TokenisedSample]) -> None:
        """Spares frozen layers from the second reading of a batch on, if the numbers stay the same to the bit.

        They do not where layers hand on more than their states, such as shared keys and values or routers' choices.
        """
        self._frozen = FrozenLayers(frozen)
        plain, _ = self.of(probes, repeated=True)
        try:
            spares = all(torch.equal(plain, self.of(probes, repeated=True)[0]) for _ in range(2))
        except (AttributeError, LookupError, TypeError, ValueError):
            # A layer above misses what those below would have left for it.
            spares = False
        self._frozen = FrozenLayers(frozen if spares else [])

    def _read(self, batch: TokenBatch, weights: Mapping[str, Tensor] | None) -> Tensor:
        if weights is None:
            return self._readout(batch)
        if not self._ranks.shards:
            return self._readout.under(weights, batch)
        with replaced(self._model, weights):
            return self._readout(batch)

    def shares(self, samples: Sequence[TokenisedSample], context: StepContext, *, copies: int = 1) -> Iterator[Part]:
        """Yields the parts of a batch that this rank reads, as many as any other; alone, all of them in their order.

        copies: as in `parts`.

        Raises:
          StepCancelled: the context says so on any rank; looked for before each part.
        """
        hands = dealt(samples, self._ranks.count)
        passes = max(len(list(self._cuts(_picked(samples, hand), copies))) for hand in hands)
        mine = hands[self._ranks.rank]
        parts, start = self.parts(_picked(samples, mine), copies=copies), 0
        for _ in range(passes):
            self._ranks.raise_if_cancelled(context)
            part = next(parts, None)
            if part is None:
                yield stand_in(samples)
            else:
                yield Part(part, mine[start : start + len(part)])
                start += len(part)

    def parts(self, samples: Sequence[TokenisedSample], *, copies: int = 1) -> Iterator[Sequence[TokenisedSample]]:
        """Cuts samples into runs that fit in memory, in their order; a function of the samples and earlier halvings.

        copies: how many times the logits of a part are held, compared with the summing of log-probabilities.
        """
        start = 0
        for cut in self._cuts(samples, copies):
            self._cut = cut
            yield samples[start : start + cut.samples]
            start += cut.samples

    def halve(self) -> bool:
        """Makes all parts to come at most half as large; returns False if the one cut last was a single sample."""
        self._frozen.forget()
        if self._cut.samples < 2:
            return False
        self._halved = True
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

    def _cuts(self, samples: Sequence[TokenisedSample], copies: int) -> Iterator[_Cut]:
        start = 0
        while start < len(samples):
            cut = self._cut_off(samples, start, copies, _Cut(len(samples), PART_TOKENS, PART_LOGITS))
            if self._halved:
                cut = self._cut_off(samples, start, copies, _Cut(cut.samples, cut.tokens // 2, cut.logits // 2))
            yield cut
            start += cut.samples

    def _cut_off(self, samples: Sequence[TokenisedSample], start: int, copies: int, most: _Cut) -> _Cut:
        """Returns how many samples from a place on are no more than `most`, at least one of them."""
        part = _Cut(0, 0, 0)
        for sample in (samples[place] for place in range(start, min(start + most.samples, len(samples)))):
            logits = self.learnt_tokens(sample) * self._vocabulary * copies
            longer = _Cut(part.samples + 1, part.tokens + sample.tokens, part.logits + logits)
            if part.samples and (longer.tokens > most.tokens or longer.logits > most.logits):
                break
            part = longer
        return part


def _picked(samples: Sequence[TokenisedSample], places: Sequence[int]) -> list[TokenisedSample]:
    return [samples[place] for place in places]


@dataclass(frozen=True)
class _Cut:
    """The size of a part."""

    samples: int
    tokens: int
    logits: int
    """As held in memory, copies counted."""
