"""Step `select`: ranks the pool by a strategy and delivers exactly the budget.

Outputs hold nothing that differs between two runs of the same step, such as seconds: a repair is keyed by the digest
of its selection. Seconds and memory are in the summary.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from llm_repair.artifacts.datasets import Row, iterate_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.allocation import IntArray
from llm_repair.core.budgets import count_tokens, delivered_samples, most_samples
from llm_repair.core.errors import FeaturesInvalid, PoolTooSmall
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.presets import resolved
from llm_repair.core.selection import Limit, SelectionStrategy, TokensBudget, score_gone_by, view_ranked_by
from llm_repair.core.steps import SelectStep
from llm_repair.selection.diagnostics import (
    cluster_counts,
    distance_histogram,
    filter_counts,
    pruned_counts,
    selection_map,
    stratum_counts,
)
from llm_repair.selection.features import Features, load_embeddings, load_scores
from llm_repair.selection.peak_memory import PeakMemory
from llm_repair.selection.shards import LocalShards
from llm_repair.selection.strategies import Ranking, entry_of, filter_of, strategy_of

T = TypeVar("T")

_ROWS_PER_BEAT = 20_000
"""About a tenth of a second of reading."""
_SPANS = 4
"""A pass over a million samples takes some seconds, and more shards would slow K_CENTER down."""
_SUMMARY_CLUSTERS = 1_000
"""The sizes of so many clusters, the largest, fit into a summary; the selection itself lists all."""


def run(step: SelectStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Selects from the pool. Outputs: `selection`, and `map` where the strategy ranks by embeddings.

    Raises:
      PoolTooSmall, BudgetTooSmall: the budget asks for more than there is, or than the filters leave, or buys nothing.
      FeaturesInvalid: embeddings or scores missing, not finite, or of another pool; names the field.
      InvalidFields: FULL with a budget below the whole pool, or parameters beside a preset.
      DatasetInvalid: the pool is not a data set, sorted by id.
    """
    started, memory = time.perf_counter(), PeakMemory()
    choice, limit = resolved(step.strategy), step.budget.limit
    pool = _read(store, step.pool_digest, context)
    most = most_samples(limit, pool.tokens)
    kept = _filtered(step, choice, pool, most, store)
    tokens = pool.tokens[kept.rows]
    # A share or a number of samples is of the pool as given; what tokens buy depends on what is left.
    most = most_samples(limit, tokens) if isinstance(limit, TokensBudget) else most
    features, about = _features(step, choice, pool, store, context)
    features = features.cut_to(kept.rows, context.workdir, context.raise_if_cancelled)
    context.raise_if_cancelled()
    context.progress(0, len(features), "samples", stage="ranking")
    loaded = time.perf_counter()
    ranking = strategy_of(choice).rank(features, seed=step.seed, places=most)
    ranked_s = time.perf_counter() - loaded
    context.progress(len(features), len(features), "samples", stage="ranking")
    picked = ranking.rows[: delivered_samples(limit, most, tokens[ranking.rows[:most]])]
    counts: dict[str, Json] = {
        "strategy": entry_of(choice.ranking).name,
        "pool": len(pool.ids),
        "delivered": len(picked),
        "delivered_tokens": int(tokens[picked].sum()),
        **about,
        **({"filters": kept.accounts} if choice.filters else {}),
        **(pruned_counts(ranking.strata, picked) if ranking.strata else {}),
    }
    outputs = {"selection": store.put_bytes(_json(_selection(features, ranking, picked, counts)))}
    if ranking.points is not None:
        outputs["map"] = store.put_bytes(_json(selection_map(features.ids, ranking, len(picked))))
    sizes = [] if ranking.clusters is None else ranking.clusters.sizes()
    cost: dict[str, Json] = {
        "seconds": time.perf_counter() - started,
        "ranking_seconds": ranked_s,
        "peak_memory_bytes": memory.read(),
    }
    return StepOutput(outputs, {**counts, "cluster_sizes": sizes[:_SUMMARY_CLUSTERS], **cost})


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


def _selection(features: Features, ranking: Ranking, picked: IntArray, counts: Mapping[str, Json]) -> Json:
    clusters = ranking.clusters
    diagnostics: dict[str, Json] = dict(counts)
    if clusters is not None:
        diagnostics["clusters"] = cluster_counts(features.ids, clusters, picked)
        diagnostics["distances"] = distance_histogram(clusters, picked)
    if ranking.strata is not None:
        diagnostics["strata"] = stratum_counts(ranking.strata, picked)
    return {
        "ids": [features.ids[row] for row in picked.tolist()],
        "clusters": [None] * len(picked) if clusters is None else clusters.labels[picked].tolist(),
        "delivered": len(picked),
        "diagnostics": diagnostics,
    }


def _tokens_of(row: Row) -> int:
    return count_tokens((row.prompt, row.chosen, row.rejected))


def _json(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
