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

from llm_repair.models.decoding import Network
from llm_repair.models.tokenisation import TokenIds

BATCH_TOKENS = 2048
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
class _Window:
    document: int
    start: int
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
    windows = [w for index, document in enumerate(ordered) for w in _windows(index, document.ids, window_tokens)]
    # Addition in the order of windows, not of batches: a sum does not depend on what else is scored.
    sums: list[dict[int, float]] = [{} for _ in ordered]
    done = 0
    for batch in _batches(windows):
        beat(done)
        for window, nll in zip(batch, _window_nll(network, batch), strict=True):
            sums[window.document][window.start] = nll
        done += sum(len(window.targets) for window in batch)
    beat(done)
    for document, parts in zip(ordered, sums, strict=True):
        nll = math.fsum(parts[start] for start in sorted(parts))
        yield DocumentScore(document.id, nll, max(len(document.ids) - 1, 0))


def _windows(index: int, ids: TokenIds, window_tokens: int) -> Iterator[_Window]:
    for start in range(0, len(ids) - 1, window_tokens):
        end = min(start + window_tokens, len(ids) - 1)
        yield _Window(index, start, ids[start:end], ids[start + 1 : end + 1])


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Yields windows longest first, as many as the token budget holds when padded to the longest."""
    ordered = sorted(windows, key=lambda window: (-len(window.inputs), window.document, window.start))
    start = 0
    while start < len(ordered):
        size = max(1, BATCH_TOKENS // len(ordered[start].inputs))
        yield ordered[start : start + size]
        start += size


def _window_nll(network: Network, batch: Sequence[_Window]) -> list[float]:
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
