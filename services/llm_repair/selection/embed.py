"""Step `embed`: turns one text view of every pool row into a vector."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import PoolTooSmall
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.steps import EmbedStep
from llm_repair.selection.encoder import Encoder, TextLengths
from llm_repair.selection.text_views import view_of


def run(step: EmbedStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Embeds the pool. Output: `embeddings`.

    Raises:
      PoolTooSmall: the pool has no rows.
      ModelInvalid, UnsafeModel: the encoder cannot or must not be loaded.
    """
    texts = [view_of(row, step.text_view) for row in read_rows(store, step.pool_digest)]
    if not texts:
        raise PoolTooSmall("the pool has no rows", pool=0)
    context.progress(0, len(texts), "texts", stage="loading encoder")
    encoder = Encoder(store.materialize(step.encoder_digest))
    distinct = list(dict.fromkeys(texts))
    position = {text: place for place, text in enumerate(distinct)}
    rows = np.array([position[text] for text in texts], dtype=np.int64)
    lengths = encoder.lengths(distinct)
    vectors = _embed_distinct(encoder, distinct, lengths, context)[rows]
    counts: dict[str, Json] = {
        "rows": len(texts),
        "distinct": len(distinct),
        "truncated": int(lengths.truncated[rows].sum()),
        "blank": sum(not text.strip() for text in texts),
        "dimensions": vectors.shape[1],
    }
    about: dict[str, Json] = {
        "pool": step.pool_digest,
        "encoder": step.encoder_digest,
        "text_view": step.text_view.name,
        "max_tokens": encoder.max_tokens,
        **counts,
    }
    folder = context.workdir / "embeddings"
    folder.mkdir()
    np.save(folder / "embeddings.npy", vectors, allow_pickle=False)
    (folder / "about.json").write_text(json.dumps(about, sort_keys=True), encoding="utf-8")
    return StepOutput({"embeddings": store.put_tree(folder)}, counts)


def _embed_distinct(
    encoder: Encoder, texts: Sequence[str], lengths: TextLengths, context: StepContext
) -> npt.NDArray[np.float32]:
    """Returns (n, d) in the order of the texts; progress by texts, since padding makes tokens no fairer a measure."""
    vectors: npt.NDArray[np.float32] | None = None
    done = 0
    for batch in encoder.batches(lengths.tokens):
        context.raise_if_cancelled()
        embedded = encoder.embed([texts[int(place)] for place in batch])
        if vectors is None:
            vectors = np.empty((len(texts), embedded.shape[1]), dtype=np.float32)
        vectors[batch] = embedded
        done += len(batch)
        context.count(tokens=int(lengths.tokens[batch].sum()))
        context.progress(done, len(texts), "texts")
    assert vectors is not None, "there is at least one text"
    return vectors
