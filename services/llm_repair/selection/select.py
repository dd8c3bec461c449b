"""Step `select`: ranks the pool by a strategy and delivers exactly the budget.

Outputs hold nothing that differs between two runs of the same step, such as seconds: a repair is keyed by the digest
of its selection. Seconds and memory are in the summary.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.allocation import IntArray
from llm_repair.core.budgets import delivered_samples
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.presets import resolved
from llm_repair.core.steps import SelectStep
from llm_repair.selection.candidates import read_candidates
from llm_repair.selection.diagnostics import (
    cluster_counts,
    distance_histogram,
    pruned_counts,
    selection_map,
    stratum_counts,
)
from llm_repair.selection.features import Features
from llm_repair.selection.peak_memory import PeakMemory
from llm_repair.selection.strategies import Ranking, entry_of, strategy_of

_SUMMARY_CLUSTERS = 1_000
"""The sizes of so many clusters, the largest, fit into a summary; the selection itself lists all."""


def run(step: SelectStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Selects from the pool. Outputs: `selection`, and `map` where the strategy ranks by embeddings.

    Raises:
      PoolTooSmall, BudgetTooSmall, FeaturesInvalid, DatasetInvalid: as `candidates.read_candidates`.
      InvalidFields: FULL with a budget below the whole pool, or parameters beside a preset.
      StepCancelled: the context says so.
    """
    started, memory = time.perf_counter(), PeakMemory()
    choice = resolved(step.strategy)
    candidates = read_candidates(step, choice, store, context)
    features, most = candidates.features, candidates.most
    context.raise_if_cancelled()
    context.progress(0, len(features), "samples", stage="ranking")
    loaded = time.perf_counter()
    ranking = strategy_of(choice).rank(features, seed=step.seed, places=most)
    ranked_s = time.perf_counter() - loaded
    context.progress(len(features), len(features), "samples", stage="ranking")
    delivered = delivered_samples(step.budget.limit, most, candidates.tokens[ranking.rows[:most]])
    picked = ranking.rows[:delivered]
    counts: dict[str, Json] = {
        **candidates.about,
        "strategy": entry_of(choice.ranking).name,
        "delivered": delivered,
        "delivered_tokens": int(candidates.tokens[picked].sum()),
        **(pruned_counts(ranking.strata, picked) if ranking.strata else {}),
    }
    outputs = {"selection": store.put_bytes(_json(_selection(features, ranking, picked, counts)))}
    if ranking.points is not None:
        outputs["map"] = store.put_bytes(_json(selection_map(features.ids, ranking, delivered)))
    sizes = [] if ranking.clusters is None else ranking.clusters.sizes()[:_SUMMARY_CLUSTERS]
    cost: dict[str, Json] = {
        "seconds": time.perf_counter() - started,
        "ranking_seconds": ranked_s,
        "peak_memory_bytes": memory.read(),
    }
    return StepOutput(outputs, {**counts, "cluster_sizes": [*sizes], **cost})


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


def _json(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
