# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""Sums of negative log-likelihoods of texts: what perplexity, last words and preferences are made of.

A document's first tokens are given, the others are predicted, each exactly once, in strides. A stride is predicted
from as much as the window holds: the inputs end before its last target and reach back `window_tokens`. The first
stride is as long as the window, since none of its predictions could look farther back. With stride = window this is
the rolling log-likelihood of lm-evaluation-harness (0.4.13, `get_rolling_token_windows` with a context of 1); a
smaller stride is its context of window - stride + 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llm_repair.models.inference.decoding import Network
from llm_repair.models.inference.threads import in_threads, in_turn
from llm_repair.models.tokenisation import TokenIds

BATCH_TOKENS = 1024
"""Tokens read together, by each thread that reads."""
CHUNK_LOGITS = 1 << 20
"""Logits held at once: 4 MiB in fp32, about a core's cache; larger and smaller by half are as fast."""
_NARROWEST = 256
"""Tokens of the vocabulary, however many rows: a narrower matrix product is slower."""


@dataclass(frozen=True)
class Document:
    """A text as the model sees it."""

    id: str
    ids: TokenIds
    given: int = 1
    """Tokens at the start that are read but not predicted; at least 1, since nothing predicts the very first."""


@dataclass(frozen=True)
class DocumentScore:
    """How likely a document is."""

    document_id: str
    nll: float
    """Sum over predicted tokens, in nats."""
    tokens: int
    """Number of predicted tokens: all but the given ones; 0 for a document that has no others."""
    greedy: bool
    """Whether each predicted token was likelier than every other; true where none is predicted."""


@dataclass(frozen=True)
class Window:
    """A stretch of a document that is read at once."""

    document: int
    """Its index."""
    inputs: TokenIds
    targets: TokenIds
    """Of the last so many inputs, each one's next token."""


@dataclass(frozen=True)
class WindowScore:
    """How likely the targets of a window are."""

    nll: float
    """In nats."""
    greedy: bool
    """Whether each target was likelier than every other token."""


def score(
    network: Network,
    documents: Sequence[Document],
    window_tokens: int,
    *,
    stride_tokens: int | None = None,
    beat: Callable[[int], None] = lambda tokens: None,
) -> Iterator[DocumentScore]:
    """Yields the score of every document, sorted by id.

    Args:
      network: What predicts.
      documents: With distinct ids, in any order.
      window_tokens: Longest input; the network's context is the limit.
      stride_tokens: Tokens predicted from one window, at most `window_tokens`; as many if None.
      beat: Called before every batch with the number of tokens predicted so far; may raise in order to stop.
    """
    ordered = sorted(documents, key=lambda document: document.id)
    asked = all_windows(ordered, window_tokens, stride_tokens)
    batches = list(_batches(asked))
    scores = [WindowScore(0.0, True)] * len(asked)
    read = _read(network, [[asked[index] for index in batch] for batch in batches], beat)
    for batch, made in zip(batches, read, strict=True):
        for index, window_score in zip(batch, made, strict=True):
            scores[index] = window_score
    return sum_windows(ordered, asked, scores)


def _read(
    network: Network, batches: Sequence[Sequence[Window]], beat: Callable[[int], None]
) -> Iterator[list[WindowScore]]:
    """Yields the scores of every batch, in their order; where the network allows it, each thread reads its own."""
    done = 0

    def look() -> None:
        beat(done)

    work = [functools.partial(_window_scores, network, batch) for batch in batches]
    threads = torch.get_num_threads() if network.parallel else 1
    made = in_threads(work, threads, beat=look) if threads > 1 else in_turn(work, beat=look)
    for batch, scores in zip(batches, made, strict=True):
        yield scores
        done += sum(len(window.targets) for window in batch)
    look()


def all_windows(documents: Sequence[Document], window_tokens: int, stride_tokens: int | None) -> list[Window]:
    """Returns the windows of all documents, in their order; none of a document without a token to predict."""
    return [
        Window(
            index,
            document.ids[max(0, stride.stop - 1 - window_tokens) : stride.stop - 1],
            document.ids[stride.start : stride.stop],
        )
        for index, document in enumerate(documents)
        for stride in strides(len(document.ids), document.given, window_tokens, stride_tokens)
    ]


def strides(length: int, given: int, window_tokens: int, stride_tokens: int | None) -> Iterator[range]:
    """Yields which tokens of a document are predicted together; all but the given ones, in order."""
    start = given
    while start < length:
        stop = min(max(start + (stride_tokens or window_tokens), window_tokens + 1), length)
        yield range(start, stop)
        start = stop


def sum_windows(
    documents: Sequence[Document], asked: Sequence[Window], scores: Sequence[WindowScore]
) -> Iterator[DocumentScore]:
    """Yields the score of every document from those of its windows, which are in order of documents."""
    parts: list[list[WindowScore]] = [[] for _ in documents]
    for window, window_score in zip(asked, scores, strict=True):
        parts[window.document].append(window_score)
    for document, own in zip(documents, parts, strict=True):
        yield DocumentScore(
            document.id,
            math.fsum(part.nll for part in own),
            max(len(document.ids) - document.given, 0),
            all(part.greedy for part in own),
        )


def _batches(asked: Sequence[Window]) -> Iterator[list[int]]:
    """Yields indices of windows, longest first, as many as the token budget holds when padded to the longest."""
    ordered = sorted(range(len(asked)), key=lambda index: (-len(asked[index].inputs), index))
    start = 0
    while start < len(ordered):
        size = max(1, BATCH_TOKENS // len(asked[ordered[start]].inputs))
        yield ordered[start : start + size]
        start += size


def _window_scores(network: Network, batch: Sequence[Window]) -> list[WindowScore]:
    states = network.read([window.inputs for window in batch])
    targets = torch.tensor([token for window in batch for token in window.targets], device=states.device)
    losses, greedy = _target_losses(network, states[torch.tensor(_predicting(batch), device=states.device)], targets)
    ends = np.cumsum([len(window.targets) for window in batch])[:-1]
    parts = (np.split(column.cpu().numpy(), ends) for column in (losses, greedy))
    return [WindowScore(float(own.sum()), bool(hits.all())) for own, hits in zip(*parts, strict=True)]


def _predicting(batch: Sequence[Window]) -> list[int]:
    """Returns where the states that predict the targets stand: the last so many of each window's."""
    places: list[int] = []
    end = 0
    for window in batch:
        end += len(window.inputs)
        places += range(end - len(window.targets), end)
    return places


@torch.inference_mode()
def _target_losses(network: Network, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the negative log-likelihood of each target, float64, and whether it is likelier than all others.

    The vocabulary is gone through in stretches that stay in the cache, and no more logits are ever held. Of the other
    tokens the largest logit and the mass relative to it are carried along: with a the target's logit and b the
    logarithm of the others' mass, the loss is ln(1 + exp(b - a)). That another is as likely is common in bf16.
    """
    width = max(_NARROWEST, CHUNK_LOGITS // len(targets))
    own = states.new_empty(len(targets), dtype=torch.float32)
    largest = torch.full_like(own, torch.finfo(torch.float32).min)
    mass = torch.zeros_like(own)
    for first in range(0, network.vocabulary, width):
        logits = network.logits(states, slice(first, first + width))
        inside = ((targets >= first) & (targets < first + width)).nonzero().squeeze(1)
        places = targets[inside] - first
        own[inside] = logits[inside, places]
        logits[inside, places] = float("-inf")
        before, largest = largest, torch.maximum(largest, logits.amax(dim=1))
        mass = mass * (before - largest).exp_() + logits.sub_(largest.unsqueeze(1)).exp_().sum(dim=1)
    others = largest.double() + mass.double().log()
    return torch.nn.functional.softplus(others - own.double()), own > largest
