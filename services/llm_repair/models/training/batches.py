"""Tokenised repair samples and the batches made of them: what a model sees, in which order.

The boundary between prompt and continuation is exact: each is encoded alone, without special tokens, and the
ids are joined, which is where generation stood when it began to continue. A continuation ends with the
end-of-text id only where its text ends with that token; none is ever added, so a text that was cut by a length
limit does not teach the model to stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llm_repair.core.errors import DatasetInvalid
from llm_repair.models.training.objectives import IGNORED

NAMED_IDS = 5
"""How many ids an error names; the rest are counted."""


@dataclass(frozen=True)
class PairText:
    """A pool row as training sees it: one prompt and the continuations that the method compares."""

    id: str
    prompt: str
    continuations: tuple[str, ...]
    """The chosen one first, then the rejected one where the method needs it."""
    desirable: bool = True
    """False for an unpaired sample whose one continuation is an unwanted one."""


@dataclass(frozen=True)
class TokenisedSample:
    """A sample in token ids."""

    id: str
    prompt: tuple[int, ...]
    """Never empty: an empty prompt becomes the tokenizer's start token."""
    continuations: tuple[tuple[int, ...], ...]
    """Each at least one token."""
    truncated: bool = False
    """Whether the prompt lost its beginning or a continuation its end."""
    desirable: bool = True
    """False for an unpaired sample whose one continuation is an unwanted one."""

    @property
    def tokens(self) -> int:
        """Tokens that the model reads: the prompt once, and each continuation."""
        return len(self.prompt) + sum(len(continuation) for continuation in self.continuations)


@dataclass(frozen=True)
class Encoding:
    """How texts become token ids, and the special tokens a sample may have."""

    encode: Callable[[str], Sequence[int]]
    """Text to ids, without special tokens."""
    prefix: tuple[int, ...] = ()
    """Before every prompt: the start token where the tokenizer's own configuration prepends it."""
    start_token: int | None = None
    """What a prompt without any token becomes."""
    end_text: str = ""
    """The end-of-text token as text; it ends a continuation whose text ends with it."""
    end_token: int | None = None

    def prompt(self, text: str) -> tuple[int, ...]:
        """Returns the ids of a prompt; empty only where there is no start token either."""
        ids = (*self.prefix, *self.encode(text))
        return ids or (() if self.start_token is None else (self.start_token,))

    def end_of_prompt(self, ids: tuple[int, ...], most: int) -> tuple[int, ...]:
        """Returns the prefix and the last ids of a prompt, at most so many in all; more than the prefix has."""
        if len(ids) <= most:
            return ids
        return (*self.prefix, *ids[len(ids) - most + len(self.prefix) :])

    def continuation(self, text: str) -> tuple[int, ...]:
        """Returns the ids of a continuation."""
        if self.end_token is not None and self.end_text and text.endswith(self.end_text):
            return (*self.encode(text.removesuffix(self.end_text)), self.end_token)
        return tuple(self.encode(text))


@dataclass(frozen=True)
class TokenBatch:
    """Token ids laid out in rows, and which predictions count for which sequence.

    A sequence is one continuation; sequence `k * continuations + j` is continuation j of sample k. `sources` are
    flat positions (row * columns + column) of the hidden states that predict `targets`.
    """

    input_ids: Tensor
    """(rows, columns), long."""
    attention_mask: Tensor
    """(rows, columns), 1 on real tokens; or (rows, 1, columns, columns), true where the column is seen."""
    position_ids: Tensor
    """(rows, columns), long; position in the text, whatever the place in the row."""
    sources: Tensor
    """(predictions,), long."""
    targets: Tensor
    """(predictions,), long."""
    owners: Tensor
    """(predictions,), long: the sequence each prediction belongs to."""
    sequences: int
    tokens: int
    """Tokens read, without padding."""

    def to(self, device: torch.device) -> TokenBatch:
        """Returns the batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def tokenise(texts: Iterable[PairText], encoding: Encoding, *, max_tokens: int) -> list[TokenisedSample]:
    """Turns texts into token ids, at most `max_tokens` of a prompt with one of its continuations.

    Of what does not fit, the prompt loses its beginning, down to one half or to what the longest continuation leaves;
    then continuations lose their end. What is learnt and what stands before it so stay together.

    Raises:
      DatasetInvalid: continuations without a token, or empty prompts of a tokenizer without start token.
    """
    samples: list[TokenisedSample] = []
    empty: list[str] = []
    for text in texts:
        prompt = encoding.prompt(text.prompt)
        continuations = tuple(encoding.continuation(continuation) for continuation in text.continuations)
        if not prompt or not all(continuations):
            empty.append(text.id)
            continue
        longest = max(map(len, continuations))
        kept = encoding.end_of_prompt(prompt, max_tokens - min(longest, max_tokens // 2))
        cut = tuple(continuation[: max_tokens - len(kept)] for continuation in continuations)
        truncated = (kept, cut) != (prompt, continuations)
        samples.append(TokenisedSample(text.id, kept, cut, truncated=truncated, desirable=text.desirable))
    if empty:
        raise DatasetInvalid(f"{_named(empty)} have no token to learn", ids=",".join(empty[:NAMED_IDS]))
    return samples


def epoch_order(ids: Sequence[str], *, seed: int, epoch: int) -> list[int]:
    """Returns the order of one epoch: indices into `ids`, a pure function of (seed, epoch, set of ids).

    Neither the order of the selection nor any state decides it, so a strategy cannot act as a curriculum
    (paper.md §8.8) and a resumed run needs no replay.
    """
    keys = [hashlib.sha256(f"order\n{seed}\n{epoch}\n{name}".encode()).digest() for name in ids]
    return sorted(range(len(ids)), key=lambda index: keys[index])


def mismatched(samples: Sequence[TokenisedSample], *, max_tokens: int) -> list[TokenisedSample]:
    """Returns each sample's prompt with the continuations of the next sample, the last with those of the first.

    Continuations lose their end where they do not fit within `max_tokens`, which must exceed every prompt. None for a
    single sample, which has no other.
    """
    if len(samples) < 2:
        return []
    return [
        replace(sample, continuations=tuple(c[: max_tokens - len(sample.prompt)] for c in following.continuations))
        for sample, following in zip(samples, [*samples[1:], samples[0]], strict=True)
    ]


def hold_out(ids: Sequence[str], *, share: float) -> set[str]:
    """Returns the ids held out for validation: those with the smallest hashes.

    Their number is share * n rounded half up, at least one if share is positive, and never all: 0 for n < 2.
    """
    if share <= 0 or len(ids) < 2:
        return set()
    count = min(max(1, int(share * len(ids) + 0.5)), len(ids) - 1)
    return set(sorted(ids, key=lambda name: hashlib.sha256(f"validation\n{name}".encode()).digest())[:count])


def padded_batch(samples: Sequence[TokenisedSample], *, prompt_in_loss: bool = False) -> TokenBatch:
    """Lays out each sequence in its own row, padded on the right: the plain form that every model understands."""
    rows = [(sample.prompt, continuation) for sample in samples for continuation in sample.continuations]
    columns = max(len(prompt) + len(continuation) for prompt, continuation in rows)
    input_ids = torch.zeros((len(rows), columns), dtype=torch.long)
    labels = torch.full((len(rows), columns), IGNORED, dtype=torch.long)
    attention = torch.zeros((len(rows), columns), dtype=torch.long)
    for row, (prompt, continuation) in enumerate(rows):
        ids = torch.tensor(prompt + continuation, dtype=torch.long)
        first = 0 if prompt_in_loss else len(prompt)
        input_ids[row, : len(ids)] = ids
        labels[row, first : len(ids)] = ids[first:]
        attention[row, : len(ids)] = 1
    owners, sources = torch.nonzero(labels[:, 1:] != IGNORED, as_tuple=True)
    return TokenBatch(
        input_ids=input_ids,
        attention_mask=attention,
        position_ids=torch.arange(columns).expand(len(rows), -1).contiguous(),
        sources=owners * columns + sources,
        targets=labels[owners, sources + 1],
        owners=owners,
        sequences=len(rows),
        tokens=int(attention.sum()),
    )


def _named(ids: Sequence[str]) -> str:
    return f"{len(ids)} samples, the first are {', '.join(ids[:NAMED_IDS])},"
