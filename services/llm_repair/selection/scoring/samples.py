"""A pool as a model reads it when samples are scored: every distinct text once, in batches that shards share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import StepContext
from llm_repair.models.training.batches import NAMED_IDS, Encoding, PairText, TokenisedSample, tokenise
from llm_repair.selection.shards import Shards

T = TypeVar("T")


@dataclass(frozen=True)
class PoolSamples:
    """The pool in token ids."""

    distinct: Sequence[TokenisedSample]
    """Each under the first id that has it."""
    places: npt.NDArray[np.int64]
    """(rows,), which of `distinct` each row is."""
    truncated: int
    """Rows that lost the end of a continuation."""


def pool_samples(
    rows: Sequence[Row],
    encoding: Encoding,
    *,
    continuations: int,
    max_tokens: int,
    context: StepContext,
    unpaired: bool = False,
) -> PoolSamples:
    """Tokenises the chosen continuations of all rows, and the rejected ones where two are compared.

    unpaired: Takes rows with either of them, as they are.

    Raises:
      DatasetInvalid: rows without a continuation that is compared, or with one that has no token; named by id.
      StepCancelled: the context says so.
    """
    if unpaired:
        _refuse([row.id for row in rows if not row.chosen and not row.rejected], "chosen or rejected")
    else:
        _refuse([row.id for row in rows if continuations == 2 and not row.rejected], "rejected")
        _refuse([row.id for row in rows if not row.chosen], "chosen")
    samples = tokenise(_texts(rows, continuations, context), encoding, max_tokens=max_tokens)
    known: dict[tuple[object, ...], int] = {}
    places = [
        known.setdefault((sample.prompt, sample.continuations, sample.desirable), len(known)) for sample in samples
    ]
    _, firsts = np.unique(places, return_index=True)
    return PoolSamples(
        [samples[int(first)] for first in firsts],
        np.array(places, dtype=np.int64),
        sum(sample.truncated for sample in samples),
    )


def map_batches(
    samples: Sequence[TokenisedSample],
    batches: Sequence[Sequence[int]],
    work: Callable[[Sequence[TokenisedSample]], T],
    context: StepContext,
    shards: Shards,
) -> list[T]:
    """Returns what `work` made of each batch of positions of samples, in their order.

    Raises:
      StepCancelled: the context says so; it is asked before each batch.
    """
    ends = list(itertools.accumulate(len(batch) for batch in batches))

    def mapped(atoms: range) -> list[T]:
        made: list[T] = []
        for atom in atoms:
            context.raise_if_cancelled()
            batch = [samples[place] for place in batches[atom]]
            made.append(work(batch))
            context.count(tokens=sum(sample.tokens for sample in batch))
            context.progress(ends[atom], len(samples), "samples")
        return made

    return [one for part in shards.map(mapped, len(batches)) for one in part]


def _texts(rows: Sequence[Row], continuations: int, context: StepContext) -> Iterator[PairText]:
    for done, row in enumerate(rows):
        context.raise_if_cancelled()
        context.progress(done, len(rows), "samples", stage="tokenising")
        there = tuple(text for text in (row.chosen, row.rejected)[:continuations] if text)
        yield PairText(row.id, row.prompt, there, desirable=bool(row.chosen))


def _refuse(ids: Sequence[str], lacking: str) -> None:
    if ids:
        named = ids[:NAMED_IDS]
        message = f"{len(ids)} samples lack `{lacking}`, which the score compares; the first are {', '.join(named)}"
        raise DatasetInvalid(message, count=len(ids), ids=",".join(named))
