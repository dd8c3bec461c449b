"""Step `select`: ranks the pool by a strategy and delivers exactly the budget.

Outputs hold nothing that differs between two runs of the same step, such as seconds: a repair is keyed by the digest
of its selection. Seconds are in the summary.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.budgets import count_tokens, delivered_samples, most_samples
from llm_repair.core.errors import FeaturesInvalid
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.steps import SelectStep
from llm_repair.selection.diagnostics import cluster_counts, distance_histogram, selection_map
from llm_repair.selection.features import Features, load_embeddings
from llm_repair.selection.strategies import Entry, Needs, Ranking, entry_of, strategy_of


def run(step: SelectStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Selects from the pool. Outputs: `selection`, and `map` where the strategy ranks by embeddings.

    Raises:
      NotCarriedOut: the strategy is in the contract, but not in this version.
      PoolTooSmall, BudgetTooSmall: the budget asks for more than there is, or buys nothing.
      FeaturesInvalid: embeddings missing, not finite, or of another pool.
      InvalidFields: FULL with a budget below the whole pool.
    """
    started = time.perf_counter()
    strategy, entry = strategy_of(step.strategy), entry_of(step.strategy.kind)
    rows = read_rows(store, step.pool_digest)
    tokens = [_tokens_of(row) for row in rows]
    most = most_samples(step.budget.limit, tokens)
    ids = [row.id for row in rows]
    features, about = _features(step, entry, ids, store)
    context.raise_if_cancelled()
    context.progress(0, len(ids), "samples", stage="ranking")
    loaded = time.perf_counter()
    ranking = strategy.rank(features, seed=step.seed, places=most)
    ranked_s = time.perf_counter() - loaded
    delivered = delivered_samples(step.budget.limit, tokens, [tokens[int(row)] for row in ranking.rows])
    context.progress(len(ids), len(ids), "samples", stage="ranking")
    picked = ranking.rows[:delivered]
    counts: dict[str, Json] = {
        "strategy": entry.name,
        "pool": len(ids),
        "delivered": delivered,
        "delivered_tokens": sum(tokens[int(row)] for row in picked),
        **about,
    }
    outputs = {"selection": store.put_bytes(_json(_selection(ids, ranking, delivered, counts)))}
    if ranking.points is not None:
        outputs["map"] = store.put_bytes(_json(selection_map(ids, ranking, delivered)))
    seconds: dict[str, Json] = {"seconds": time.perf_counter() - started, "ranking_seconds": ranked_s}
    sizes: list[Json] = [] if ranking.clusters is None else [*ranking.clusters.sizes()]
    return StepOutput(outputs, {**counts, "cluster_sizes": sizes, **seconds})


def _features(
    step: SelectStep, entry: Entry, ids: list[str], store: ArtifactStore
) -> tuple[Features, Mapping[str, Json]]:
    """Returns the features the strategy needs and what is worth telling about how they were made."""
    if entry.needs is not Needs.EMBEDDINGS:
        return Features(ids), {}
    if not step.embeddings_digest:
        raise FeaturesInvalid(f"{entry.name} ranks by embeddings and none were given", field="embeddings_digest")
    folder = store.materialize(step.embeddings_digest)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    matrix = load_embeddings(folder, ids, pool_digest=step.pool_digest)
    return Features(ids, embeddings=matrix), {"truncated": about["truncated"], "text_view": about["text_view"]}


def _selection(ids: list[str], ranking: Ranking, delivered: int, counts: Mapping[str, Json]) -> Json:
    picked = ranking.rows[:delivered]
    clusters = ranking.clusters
    diagnostics: dict[str, Json] = dict(counts)
    if clusters is not None:
        diagnostics["clusters"] = cluster_counts(ids, clusters, picked)
        diagnostics["distances"] = distance_histogram(clusters, picked)
    return {
        "ids": [ids[int(row)] for row in picked],
        "clusters": [None if clusters is None else int(clusters.labels[row]) for row in picked],
        "delivered": delivered,
        "diagnostics": diagnostics,
    }


def _tokens_of(row: Row) -> int:
    return count_tokens((row.prompt, row.chosen, row.rejected))


def _json(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
