# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""Sums of negative log-likelihoods of texts: what perplexity is made of.

A document is read in windows of at most `window_tokens` inputs that do not overlap (stride = window). Targets
are the inputs shifted by one, so a window's last target is the next window's first input: every token but the
document's first is predicted exactly once, the first target of a later window from a single token of context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llm_repair.models.inference.decoding import Network
from llm_repair.models.tokenisation import TokenIds

BATCH_TOKENS = 1024
"""Tokens read together; a batch is also the longest time between two looks at cancellation."""
CHUNK_LOGITS = 1 << 24
"""Logits held at once: 64 MiB in fp32, whatever the vocabulary."""


@dataclass(frozen=True)
class Document:
    """A text as the model sees it."""

    id: str
    ids: TokenIds


@dataclass(frozen=True)
class DocumentScore:
    """How likely a document is."""

    document_id: str
    nll: float
    """Sum over predicted tokens, in nats."""
    tokens: int
    """Number of predicted tokens: all but the first; 0 for a document of one token or none."""


@dataclass(frozen=True)
class Window:
    """A stretch of a document that is read at once."""

    document: int
    """Its index."""
    inputs: TokenIds
    targets: TokenIds


def score(
    network: Network,
    documents: Sequence[Document],
    window_tokens: int,
    *,
    beat: Callable[[int], None] = lambda tokens: None,
) -> Iterator[DocumentScore]:
    """Yields the score of every document, sorted by id.

    Args:
      network: What predicts.
      documents: With distinct ids, in any order.
      window_tokens: Longest input; the network's context is the limit.
      beat: Called before every batch with the number of tokens predicted so far; may raise in order to stop.
    """
    ordered = sorted(documents, key=lambda document: document.id)
    asked = [window for index, document in enumerate(ordered) for window in windows(index, document, window_tokens)]
    nlls = [0.0] * len(asked)
    done = 0
    for batch in _batches(asked):
        beat(done)
        made = _window_nlls(network, [asked[index] for index in batch])
        for index, nll in zip(batch, made, strict=True):
            nlls[index] = nll
            done += len(asked[index].targets)
    beat(done)
    return sum_windows(ordered, asked, nlls)


def windows(index: int, document: Document, window_tokens: int) -> Iterator[Window]:
    """Yields the windows of the document with this index, in order; none if it has fewer than two tokens."""
    ids = document.ids
    for start in range(0, len(ids) - 1, window_tokens):
        end = min(start + window_tokens, len(ids) - 1)
        yield Window(index, ids[start:end], ids[start + 1 : end + 1])


def sum_windows(
    documents: Sequence[Document], asked: Sequence[Window], nlls: Sequence[float]
) -> Iterator[DocumentScore]:
    """Yields the score of every document from those of its windows, which are in order of documents."""
    parts: list[list[float]] = [[] for _ in documents]
    for window, nll in zip(asked, nlls, strict=True):
        parts[window.document].append(nll)
    for document, own in zip(documents, parts, strict=True):
        yield DocumentScore(document.id, math.fsum(own), max(len(document.ids) - 1, 0))


def _batches(asked: Sequence[Window]) -> Iterator[list[int]]:
    """Yields indices of windows, longest first, as many as the token budget holds when padded to the longest."""
    ordered = sorted(range(len(asked)), key=lambda index: (-len(asked[index].inputs), index))
    start = 0
    while start < len(ordered):
        size = max(1, BATCH_TOKENS // len(asked[ordered[start]].inputs))
        yield ordered[start : start + size]
        start += size


def _window_nlls(network: Network, batch: Sequence[Window]) -> list[float]:
    states = network.read([window.inputs for window in batch])
    targets = torch.tensor([token for window in batch for token in window.targets], device=states.device)
    rows = max(1, CHUNK_LOGITS // network.vocabulary)
    losses = torch.cat(
        [
            _losses(network.logits(states[start : start + rows]), targets[start : start + rows])
            for start in range(0, len(targets), rows)
        ]
    )
    ends = np.cumsum([len(window.targets) for window in batch])
    return [float(part.sum()) for part in np.split(losses.cpu().numpy(), ends[:-1])]


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none").double()
