"""Step `overlap`: prompts of the evaluation that are in the pool too, word for word or nearly so.

What was trained on says little when it is measured again, so the reader of a report must be told. Equal prompts are
found by their normalised text, near ones by the cosine of their embeddings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm_repair.artifacts.datasets import iterate_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import FeaturesInvalid
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.references import normalized
from llm_repair.core.selection import TextView
from llm_repair.core.steps import OverlapStep
from llm_repair.selection.features import Embeddings, load_embeddings
from llm_repair.selection.near_duplicates import Float32Array, Pairs, near_rows
from llm_repair.selection.shards import ONE_SHARD, Shards

NAMED_PAIRS = 100
"""So many pairs are named, the most similar ones; all are counted."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_ROWS_BETWEEN_BEATS = 4_096


def run(step: OverlapStep, store: ArtifactStore, context: StepContext, shards: Shards = ONE_SHARD) -> StepOutput:
    """Compares pool and evaluation prompts. Output: `overlap`, a JSON blob of counts, ids and similarities, no texts.

    {pool, prompts, pool_prompts, evaluation_prompts, shared, equal, near, near_reason}: `pool_prompts`,
    `evaluation_prompts` and `shared` count prompts that differ after normalisation. `equal` is {evaluation_rows,
    pool_rows, pairs} with {prompt_id, pool_id, similarity}; `near` has {min_similarity, encoder, truncated, nearest}
    besides, where `nearest` is how similar the nearest pool prompt is, over the evaluation prompts. A prompt with an
    equal one is not near another. `near` is null where no encoder was given, and `near_reason` says so.

    Raises:
      FeaturesInvalid: the embeddings are of other rows, or by two encoders.
      StepCancelled: the context says so.
    """
    context.progress(0, 0, "prompts", stage="reading prompts")
    prompts = _read_prompts(store, step.prompts_digest, context.raise_if_cancelled)
    pool = _read_prompts(store, step.pool_digest, context.raise_if_cancelled)
    equal = _equal(pool, prompts)
    near = _near(step, store, context, shards, pool, prompts, equal) if step.pool_embeddings_digest else None
    found: dict[str, Json] = {
        "pool": step.pool_digest,
        "prompts": step.prompts_digest,
        "pool_prompts": len(pool.first_rows),
        "evaluation_prompts": len(prompts.first_rows),
        "shared": len(pool.first_rows.keys() & prompts.first_rows.keys()),
        "equal": _pairs_to_json(equal, pool, prompts),
        "near": near,
        "near_reason": "" if near else "NO_ENCODER",
    }
    output = store.put_bytes(json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    counts = {name: found[name] for name in ("pool_prompts", "evaluation_prompts", "shared", "near_reason")}
    return StepOutput({"overlap": output}, {**counts, "near": near["evaluation_rows"] if near else None})


@dataclass(frozen=True)
class _Prompts:
    """The prompts of a data set, without their texts: a pool of a million must fit."""

    ids: Sequence[str]
    digests: Sequence[bytes]
    """Of the normalised text of each row."""
    first_rows: Mapping[bytes, int]
    """By digest."""


def _read_prompts(store: ArtifactStore, digest: str, beat: Callable[[], None]) -> _Prompts:
    ids: list[str] = []
    digests: list[bytes] = []
    first_rows: dict[bytes, int] = {}
    for number, row in enumerate(iterate_rows(store, digest)):
        if number % _ROWS_BETWEEN_BEATS == 0:
            beat()
        ids.append(row.id)
        digests.append(hashlib.blake2b(normalized(row.prompt).encode("utf-8"), digest_size=16).digest())
        first_rows.setdefault(digests[-1], number)
    return _Prompts(ids, digests, first_rows)


def _equal(pool: _Prompts, prompts: _Prompts) -> Pairs:
    of_prompt = np.array([pool.first_rows.get(digest, -1) for digest in prompts.digests], dtype=np.int64)
    pool_rows = np.array([digest in prompts.first_rows for digest in pool.digests], dtype=np.bool_)
    return Pairs(pool_rows, of_prompt, np.where(of_prompt >= 0, 1.0, -np.inf))


def _near(
    step: OverlapStep,
    store: ArtifactStore,
    context: StepContext,
    shards: Shards,
    pool: _Prompts,
    prompts: _Prompts,
    equal: Pairs,
) -> dict[str, Json]:
    of_pool, of_prompts = _embeddings(step, store, pool, prompts, context.raise_if_cancelled)

    def beat(compared: int) -> None:
        context.raise_if_cancelled()
        context.progress(compared, len(pool.ids), "prompts", stage="comparing")

    found = near_rows(
        of_pool.matrix, of_prompts.matrix, step.min_similarity, wanted=equal.of_prompt < 0, shards=shards, beat=beat
    )
    return {
        **_pairs_to_json(found.pairs, pool, prompts),
        "min_similarity": step.min_similarity,
        "encoder": of_pool.encoder,
        "truncated": of_pool.truncated + of_prompts.truncated,
        "nearest": _quantiles(found.nearest),
    }


def _embeddings(
    step: OverlapStep, store: ArtifactStore, pool: _Prompts, prompts: _Prompts, beat: Callable[[], None]
) -> tuple[Embeddings, Embeddings]:
    """Returns those of the pool and of the evaluation's prompts, by one encoder."""
    of_pool, of_prompts = (
        load_embeddings(
            store,
            digest,
            rows.ids,
            pool_digest=of_rows,
            text_view=TextView.PROMPT,
            field=field,
            beat=beat,
        )
        for field, digest, rows, of_rows in (
            ("pool_embeddings_digest", step.pool_embeddings_digest, pool, step.pool_digest),
            ("prompts_embeddings_digest", step.prompts_embeddings_digest, prompts, step.prompts_digest),
        )
    )
    if of_pool.encoder != of_prompts.encoder:
        raise FeaturesInvalid(
            "pool and prompts were embedded by two encoders", pool=of_pool.encoder, prompts=of_prompts.encoder
        )
    return of_pool, of_prompts


def _pairs_to_json(pairs: Pairs, pool: _Prompts, prompts: _Prompts) -> dict[str, Json]:
    return {
        "evaluation_rows": len(pairs.paired),
        "pool_rows": int(pairs.pool_rows.sum()),
        "pairs": [
            {
                "prompt_id": prompts.ids[prompt],
                "pool_id": pool.ids[int(pairs.of_prompt[prompt])],
                "similarity": round(float(pairs.similarity[prompt]), 6),
            }
            for prompt in pairs.paired[:NAMED_PAIRS].tolist()
        ],
    }


def _quantiles(nearest: Float32Array) -> dict[str, Json]:
    return {name: round(float(np.quantile(nearest, share)), 4) for name, share in _QUANTILES.items()}
