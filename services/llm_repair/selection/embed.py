# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# numpy.lib.format is untyped.
"""Step `embed`: turns one text view of every pool row into a vector.

Map: batches of distinct texts are the atoms, and each shard leaves the vectors of its batches in a file. Merge: they
are copied to their rows in a memory-mapped matrix. The plan of the batches depends on the set of texts alone, so
neither the order of the pool nor the number of shards changes a bit. Neither texts nor vectors ever lie in memory at
once.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap

from llm_repair.artifacts.datasets import iterate_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import FeaturesInvalid, PoolTooSmall
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.steps import EmbedStep
from llm_repair.selection.distinct_texts import DistinctTexts, batches
from llm_repair.selection.encoder import TEXTS_AT_ONCE, Encoder
from llm_repair.selection.peak_memory import PeakMemory
from llm_repair.selection.shards import ONE_SHARD, Shards
from llm_repair.selection.text_views import view_of

_MERGED_AT_ONCE = 16_384
"""Vectors copied at once: 25 MB at 384 dimensions."""


def run(step: EmbedStep, store: ArtifactStore, context: StepContext, shards: Shards = ONE_SHARD) -> StepOutput:
    """Embeds the pool. Output: `embeddings`, a tree of `embeddings.npy` (rows, dimensions), float32, and `about.json`.

    Raises:
      PoolTooSmall: the pool has no rows.
      ModelInvalid, UnsafeModel: the encoder cannot or must not be loaded.
      FeaturesInvalid: a text of no tokens, or a vector with a NaN or infinite number; names the row.
    """
    started, memory = time.perf_counter(), PeakMemory()
    torch.set_num_threads(context.threads)
    context.progress(0, 0, "texts", stage="loading encoder")
    encoder = Encoder(store.materialize(step.encoder_digest))
    folder = context.workdir / "embeddings"
    with DistinctTexts(context.workdir / "texts.bin") as texts:
        counts = _read(step, store, encoder, context, texts)
        batched = _Batched(step, store, context, encoder, texts)
        mapping = time.perf_counter()
        parts = shards.map(batched.embed, len(batched))
        mapped_s = time.perf_counter() - mapping
        folder.mkdir()
        batched.merge(parts, folder / "embeddings.npy")
    context.count(accelerator_s=mapped_s if encoder.on_accelerator else 0.0)
    about = {"pool": step.pool_digest, "encoder": step.encoder_digest, "text_view": step.text_view.name, **counts}
    (folder / "about.json").write_text(json.dumps(about, sort_keys=True), encoding="utf-8")
    output = store.put_tree(folder)
    cost: dict[str, Json] = {
        "forward": encoder.forward,
        "embedding_seconds": mapped_s,
        "tokens_per_second": batched.tokens / mapped_s,
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": memory.read(),
    }
    return StepOutput({"embeddings": output}, {**counts, **cost})


def _read(
    step: EmbedStep, store: ArtifactStore, encoder: Encoder, context: StepContext, texts: DistinctTexts
) -> dict[str, Json]:
    """Adds the texts of all rows; returns what is worth telling about them and equal in every run."""
    rows, blank = 0, 0
    of_rows = (view_of(row, step.text_view) for row in iterate_rows(store, step.pool_digest))
    while some := list(itertools.islice(of_rows, TEXTS_AT_ONCE)):
        context.raise_if_cancelled()
        texts.add(some, encoder.prepare)
        rows += len(some)
        blank += sum(not text.strip() for text in some)
        context.progress(rows, 0, "texts", stage="tokenising")
    if not rows:
        raise PoolTooSmall("the pool has no rows", pool=0)
    return {
        "rows": rows,
        "distinct": len(texts),
        "truncated": int(texts.truncated[texts.rows].sum()),
        "blank": blank,
        "tokens": int(texts.tokens.sum()),
        "dimensions": encoder.dimensions,
        "max_tokens": encoder.max_tokens,
        "weights": encoder.weights.name,
    }


class _Batched:
    """The distinct texts cut into batches, which shards embed."""

    def __init__(
        self, step: EmbedStep, store: ArtifactStore, context: StepContext, encoder: Encoder, texts: DistinctTexts
    ) -> None:
        self._step, self._store, self._context = step, store, context
        self._encoder, self._texts = encoder, texts
        self._order = texts.order()
        self._lengths = texts.tokens[self._order]
        if not self._lengths[-1]:
            raise FeaturesInvalid(
                "the text of a row has no tokens for this encoder", id=self._row_with(int(self._order[-1]))
            )
        self._batches = batches(self._lengths, encoder.batch_tokens)
        self._done = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return int(self._lengths.sum())

    def embed(self, span: range) -> Path:
        """Embeds some batches into a file of float32: the vectors of their texts, one after the other."""
        file = self._context.workdir / f"part-{span.start}.f32"
        payloads = (list(self._texts.read(self._places(number))) for number in span)
        embedding = closing(self._encoder.embed_all(payloads, self._context.threads))
        with file.open("wb") as part, embedding as embedded:
            for number, vectors in zip(span, embedded, strict=True):
                self._context.raise_if_cancelled()
                self._check(number, vectors)
                part.write(vectors.tobytes())
                self._report(number)
        return file

    def merge(self, parts: Sequence[Path], target: Path) -> None:
        """Writes the matrix of all rows from the parts, which it removes."""
        rows = self._texts.rows
        ranks = np.empty_like(self._order)
        ranks[self._order] = np.arange(len(ranks))
        by_rank = np.argsort(ranks[rows], kind="stable")
        repeats = np.bincount(ranks[rows], minlength=len(ranks))
        ends = np.concatenate([[0], np.cumsum(repeats)])
        shape = (len(rows), self._encoder.dimensions)
        matrix: np.memmap[Any, np.dtype[np.float32]] = open_memmap(target, mode="w+", dtype=np.float32, shape=shape)
        start = 0
        for part in parts:
            for vectors in self._vectors(part):
                self._context.raise_if_cancelled()
                end = start + len(vectors)
                matrix[by_rank[ends[start] : ends[end]]] = np.repeat(vectors, repeats[start:end], axis=0)
                start = end
            part.unlink()
        matrix.flush()

    def _places(self, number: int) -> npt.NDArray[np.int64]:
        batch = self._batches[number]
        return self._order[batch.start : batch.stop]

    def _check(self, number: int, vectors: npt.NDArray[np.float32]) -> None:
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            row = self._row_with(int(self._places(number)[np.argmin(finite)]))
            raise FeaturesInvalid("the encoder gave a row a vector with a NaN or infinite number", id=row)

    def _report(self, number: int) -> None:
        batch = self._batches[number]
        self._done += len(batch)
        self._context.count(tokens=int(self._lengths[batch.start : batch.stop].sum()))
        self._context.progress(self._done, len(self._order), "texts")

    def _vectors(self, part: Path) -> Iterator[npt.NDArray[np.float32]]:
        """Reads a part: memory-mapped it would count as memory of this process, page by page."""
        width = self._encoder.dimensions
        with part.open("rb") as file:
            while (block := np.fromfile(file, np.float32, _MERGED_AT_ONCE * width)).size:
                yield block.reshape(-1, width)

    def _row_with(self, place: int) -> str:
        """Returns the id of the first row with a text."""
        row = int(np.argmax(self._texts.rows == place))
        return next(itertools.islice(iterate_rows(self._store, self._step.pool_digest), row, None)).id
