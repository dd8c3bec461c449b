"""Candidates: what of a pool a strategy ranks after the filters, and what it ranks them by."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from llm_repair.artifacts.datasets import Row, iterate_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.allocation import IntArray
from llm_repair.core.budgets import count_tokens, most_samples
from llm_repair.core.errors import FeaturesInvalid, PoolTooSmall
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.selection import Limit, SelectionStrategy, TokensBudget, score_gone_by, view_ranked_by
from llm_repair.core.steps import SelectStep
from llm_repair.selection.diagnostics import filter_counts
from llm_repair.selection.features import Features, load_embeddings, load_scores
from llm_repair.selection.shards import LocalShards
from llm_repair.selection.strategies import entry_of, filter_of

T = TypeVar("T")

_ROWS_PER_BEAT = 20_000
"""About a tenth of a second of reading."""
_SPANS = 4
"""A pass over a million samples takes some seconds, and more shards would slow K_CENTER down."""


@dataclass(frozen=True)
class Candidates:
    """The rows of a pool that the filters left, as a pool of their own."""

    features: Features
    tokens: IntArray
    """(n,), as a budget counts them."""
    most: int
    """The largest number of them that the budget can buy."""
    about: Mapping[str, Json]
    """What is worth telling about the pool, the filters and the features."""


def read_candidates(
    step: SelectStep, choice: SelectionStrategy, store: ArtifactStore, context: StepContext
) -> Candidates:
    """Reads the pool, applies the filters and opens what the ranking strategy goes by.

    Args:
      step: Names the pool, the budget and the artifacts.
      choice: The step's strategy, its preset written out.
      store: Holds them.
      context: Its folder holds the embeddings that are left, where filters drop rows.

    Raises:
      PoolTooSmall, BudgetTooSmall: the budget asks for more than there is, or than the filters leave, or buys nothing.
      FeaturesInvalid: embeddings or scores missing, not finite, or of another pool; names the field.
      DatasetInvalid: the pool is not a data set, sorted by id.
    """
    limit, pool = step.budget.limit, _read(store, step.pool_digest, context)
    most = most_samples(limit, pool.tokens)
    kept = _filtered(step, choice, pool, most, store)
    features, about = _features(step, choice, pool, store, context)
    tokens = pool.tokens[kept.rows]
    return Candidates(
        features.cut_to(kept.rows, context.workdir, context.raise_if_cancelled),
        tokens,
        # A share or a number of samples is of the pool as given; what tokens buy depends on what is left.
        most_samples(limit, tokens) if isinstance(limit, TokensBudget) else most,
        {"pool": len(pool.ids), **about, **({"filters": kept.accounts} if choice.filters else {})},
    )


@dataclass(frozen=True)
class _Pool:
    """What a selection needs of the rows: a million of them are no million objects."""

    ids: list[str]
    tokens: IntArray
    """(n,), as a budget counts them."""


def _read(store: ArtifactStore, digest: str, context: StepContext) -> _Pool:
    ids: list[str] = []
    tokens = array("q")
    for row in iterate_rows(store, digest):
        ids.append(row.id)
        tokens.append(_tokens_of(row))
        if len(ids) % _ROWS_PER_BEAT == 0:
            context.raise_if_cancelled()
            context.progress(len(ids), 0, "samples", stage="reading the pool")
    return _Pool(ids, np.array(tokens, dtype=np.int64))


@dataclass(frozen=True)
class _Kept:
    """What the filters leave of a pool."""

    rows: IntArray
    """Ascending."""
    accounts: list[Json]
    """Of each filter, outermost first."""


def _filtered(step: SelectStep, choice: SelectionStrategy, pool: _Pool, most: int, store: ArtifactStore) -> _Kept:
    """Applies the filters, the outermost first; each sees what those before it left."""
    digests, filters = step.filter_scores_digests, choice.filters
    if len(digests) != len(filters):
        raise FeaturesInvalid(
            f"the strategy has {len(filters)} filters, and {len(digests)} scores were given for them",
            field="filter_scores_digests",
        )
    rows, accounts = np.arange(len(pool.ids), dtype=np.int64), list[Json]()
    for place, (part, digest) in enumerate(zip(filters, digests, strict=True)):
        score, field = score_gone_by(part), f"filter_scores_digests[{place}]"
        assert score is not None, "a filter goes by a score"
        scores = load_scores(store, digest, pool.ids, pool_digest=step.pool_digest, score=score, field=field)
        filtered = filter_of(part).keep(scores.values[rows])
        rows = rows[filtered.kept]
        name = entry_of(part).name
        _check_left(name, len(rows), step.budget.limit, most)
        accounts.append(filter_counts(name, filtered))
    return _Kept(rows, accounts)


def _check_left(name: str, left: int, limit: Limit, most: int) -> None:
    asked = 1 if isinstance(limit, TokensBudget) else most
    if left < asked:
        raise PoolTooSmall(
            f"{name} keeps {left} samples, the budget asks for {asked}", filter=name, kept=left, asked=asked
        )


def _features(
    step: SelectStep, choice: SelectionStrategy, pool: _Pool, store: ArtifactStore, context: StepContext
) -> tuple[Features, Mapping[str, Json]]:
    """Returns the features the ranking strategy needs and what is worth telling about how they were made."""
    shards = _WatchedShards(context.raise_if_cancelled)
    if view := view_ranked_by(choice.ranking):
        embeddings = load_embeddings(
            store,
            step.embeddings_digest,
            pool.ids,
            pool_digest=step.pool_digest,
            text_view=view,
            field="embeddings_digest",
            beat=context.raise_if_cancelled,
        )
        truncated = embeddings.truncated
        about: dict[str, Json] = {
            "text_view": view.name,
            "truncated": truncated,
            "truncated_share": truncated / len(pool.ids),
        }
        return Features(pool.ids, embeddings=embeddings.matrix, shards=shards), about
    if score := score_gone_by(choice.ranking):
        scores = load_scores(
            store, step.scores_digest, pool.ids, pool_digest=step.pool_digest, score=score, field="scores_digest"
        )
        return Features(pool.ids, hardness=scores.hardness, shards=shards), {"score": score.name}
    return Features(pool.ids, shards=shards), {}


@dataclass(frozen=True)
class _WatchedShards:
    """Shards in this process, between which a cancellation is looked for."""

    beat: Callable[[], None]

    def map(self, work: Callable[[range], T], atoms: int) -> list[T]:
        """Maps a few shards, whose number changes no result."""

        def watched(span: range) -> T:
            self.beat()
            return work(span)

        return LocalShards(_SPANS).map(watched, atoms)


def _tokens_of(row: Row) -> int:
    return count_tokens((row.prompt, row.chosen, row.rejected))
