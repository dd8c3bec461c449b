"""Packs samples without padding: a prompt once, its continuations beside each other, many samples in a row.

A mask lets each token see its own prompt and its own continuation only, and positions restart with each text,
so the log-probabilities equal those of the padded layout. On short prompts with a chosen and a rejected
continuation this reads about half the tokens that padding reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from llm_repair.models.training.batches import TokenBatch, TokenisedSample

ROW_TOKENS = 256
"""Tokens a row should have: long enough to waste little, short enough that attention stays a small share."""


@dataclass
class _Row:
    """Lists that grow in step, one entry per token of the row; and the predictions made in it."""

    ids: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    samples: list[int] = field(default_factory=list[int])
    branches: list[int] = field(default_factory=list[int])
    """0 in the prompt, 1 + j in continuation j."""
    sources: list[int] = field(default_factory=list[int])
    targets: list[int] = field(default_factory=list[int])
    owners: list[int] = field(default_factory=list[int])


def packed_batch(
    samples: Sequence[TokenisedSample], *, prompt_in_loss: bool = False, row_tokens: int = ROW_TOKENS
) -> TokenBatch:
    """Lays out samples in as few rows of about `row_tokens` as hold them, with next to no padding.

    The last token of a continuation predicts nothing and is not read. The first token of a prompt is predicted
    by nothing; the others count for every continuation of the sample where `prompt_in_loss`.
    """
    rows = [_Row() for _ in range(_row_count(samples, row_tokens))]
    for index in sorted(range(len(samples)), key=lambda i: (-_read_tokens(samples[i]), i)):
        emptiest = min(rows, key=lambda row: len(row.ids))
        _append(emptiest, samples[index], index, prompt_in_loss)
    columns = max(len(row.ids) for row in rows)
    sample_of = _padded([row.samples for row in rows], columns, -1)
    offsets = [number * columns for number in range(len(rows))]
    return TokenBatch(
        input_ids=_padded([row.ids for row in rows], columns, 0),
        attention_mask=_branch_mask(sample_of, _padded([row.branches for row in rows], columns, 0)),
        position_ids=_padded([row.positions for row in rows], columns, 0),
        sources=torch.tensor([at + o for row, o in zip(rows, offsets, strict=True) for at in row.sources]),
        targets=torch.tensor([target for row in rows for target in row.targets]),
        owners=torch.tensor([owner for row in rows for owner in row.owners]),
        sequences=sum(len(sample.continuations) for sample in samples),
        tokens=sum(len(row.ids) for row in rows),
    )


def _read_tokens(sample: TokenisedSample) -> int:
    return sample.tokens - len(sample.continuations)


def _row_count(samples: Sequence[TokenisedSample], row_tokens: int) -> int:
    lengths = [_read_tokens(sample) for sample in samples]
    return max(1, min(len(lengths), round(sum(lengths) / max(row_tokens, *lengths))))


def _append(row: _Row, sample: TokenisedSample, index: int, prompt_in_loss: bool) -> None:
    start, width = len(row.ids), len(sample.prompt)
    row.ids += sample.prompt
    row.positions += range(width)
    row.samples += [index] * width
    row.branches += [0] * width
    for branch, continuation in enumerate(sample.continuations):
        owner = index * len(sample.continuations) + branch
        first = len(row.ids)
        read = len(continuation) - 1
        row.ids += continuation[:-1]
        row.positions += range(width, width + read)
        row.samples += [index] * read
        row.branches += [branch + 1] * read
        if prompt_in_loss:
            _predict(row, range(start, start + width - 1), sample.prompt[1:], owner)
        _predict(row, [start + width - 1, *range(first, first + read)], continuation, owner)


def _predict(row: _Row, sources: Sequence[int], targets: Sequence[int], owner: int) -> None:
    row.sources += sources
    row.targets += targets
    row.owners += [owner] * len(targets)


def _padded(rows: Sequence[Sequence[int]], columns: int, fill: int) -> torch.Tensor:
    return torch.tensor([[*row, *[fill] * (columns - len(row))] for row in rows], dtype=torch.long)


def _branch_mask(samples: torch.Tensor, branches: torch.Tensor) -> torch.Tensor:
    """Returns (rows, 1, columns, columns): true where the query (third axis) sees the key (fourth axis).

    Padding sees padding before it, so that no query is left without a key, which would make its softmax NaN.
    """
    same_sample = samples[:, :, None] == samples[:, None, :]
    same_branch = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    causal = torch.ones(samples.shape[1], samples.shape[1], dtype=torch.bool).tril()
    return (same_sample & same_branch & causal).unsqueeze(1)
