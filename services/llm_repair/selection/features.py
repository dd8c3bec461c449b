"""Features: what a strategy may know about the pool, checked before anything ranks by it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from llm_repair.core.errors import FeaturesInvalid
from llm_repair.selection.shards import LocalShards, Shards

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]

BLOCK_ROWS = 16_384
"""Rows read at once from a memory-mapped matrix: 50 MB at 384 dimensions in float64."""


@dataclass(frozen=True)
class Features:
    """The pool as a strategy sees it, one row a sample, ascending by id."""

    ids: Sequence[str]
    embeddings: FloatArray | None = None
    """(n, d), float32, possibly memory-mapped."""
    hardness: FloatArray | None = None
    """(n,), scores turned so that larger is harder."""
    shards: Shards = LocalShards()
    """Where heavy parts are mapped."""

    def __len__(self) -> int:
        return len(self.ids)

    def required_embeddings(self) -> FloatArray:
        """Returns the embeddings.

        Raises:
          FeaturesInvalid: the selection was asked for without an embeddings artifact.
        """
        if self.embeddings is None:
            raise FeaturesInvalid("this strategy ranks by embeddings and none were given", field="embeddings_digest")
        return self.embeddings

    def required_hardness(self) -> FloatArray:
        """Returns the hardness of each sample.

        Raises:
          FeaturesInvalid: the selection was asked for without a scores artifact.
        """
        if self.hardness is None:
            raise FeaturesInvalid("this strategy ranks by scores and none were given", field="scores_digest")
        return self.hardness


def load_embeddings(folder: Path, ids: Sequence[str], *, pool_digest: str) -> FloatArray:
    """Opens an embeddings tree, memory-mapped, and checks it against the pool.

    Raises:
      FeaturesInvalid: made for another pool, of another shape, or with a NaN or infinite value.
    """
    about = json.loads((folder / "about.json").read_text())
    if about["pool"] != pool_digest:
        raise FeaturesInvalid("the embeddings were made for another pool", embedded=about["pool"], pool=pool_digest)
    matrix: FloatArray = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    check_embeddings(matrix, ids)
    return matrix


def check_embeddings(matrix: FloatArray, ids: Sequence[str]) -> None:
    """Raises `FeaturesInvalid` unless `matrix` has one finite row for every id; names the first bad row."""
    if matrix.ndim != 2 or matrix.shape[0] != len(ids) or matrix.shape[1] == 0:
        shape = "x".join(str(length) for length in matrix.shape)
        raise FeaturesInvalid(
            f"the embeddings have shape {shape}, the pool has {len(ids)} rows", shape=shape, rows=len(ids)
        )
    for start, block in blocks(matrix):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise FeaturesInvalid(
                f"row {row} (id {ids[row]}) of the embeddings is NaN or infinite", row=row, id=ids[row]
            )


def blocks(matrix: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yields (first row, rows as float64) over the whole matrix, so that it never lies in memory at once."""
    for start in range(0, len(matrix), BLOCK_ROWS):
        yield start, matrix[start : start + BLOCK_ROWS].astype(np.float64)
