"""Features: what a strategy may know about the pool, checked before anything ranks by it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.scores import Scores, read_scores
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.allocation import IntArray
from llm_repair.core.errors import FeaturesInvalid
from llm_repair.core.selection import Score, TextView
from llm_repair.selection.shards import LocalShards, Shards

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]

BLOCK_ROWS = 16_384
"""Rows read at once from a memory-mapped matrix: 25 MB at 384 dimensions."""


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

    def cut_to(self, rows: IntArray, folder: Path, beat: Callable[[], None]) -> Features:
        """Returns the features of some rows, ascending, as a pool of its own.

        Args:
          rows: Row numbers, ascending.
          folder: Holds the embeddings that are left, so that they are memory-mapped again.
          beat: Called between blocks of rows; what it raises ends the copying.
        """
        if len(rows) == len(self):
            return self
        return dataclasses.replace(
            self,
            ids=[self.ids[row] for row in rows.tolist()],
            embeddings=None if self.embeddings is None else _cut(self.embeddings, rows, folder / "kept.npy", beat),
            hardness=None if self.hardness is None else self.hardness[rows],
        )


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a pool."""

    matrix: FloatArray
    """(n, d), float32, memory-mapped."""
    encoder: str
    """Digest."""
    truncated: int
    """Texts of which the encoder saw only the beginning."""
    blank: int
    """Rows without a text to embed."""


def load_embeddings(
    store: ArtifactStore,
    digest: str,
    ids: Sequence[str],
    *,
    pool_digest: str,
    text_view: TextView,
    field: str,
    beat: Callable[[], None],
) -> Embeddings:
    """Opens embeddings, memory-mapped, and checks them against the pool and against what the strategy ranks by.

    Reads them once, calling `beat` between blocks of rows; what it raises ends the reading.

    Raises:
      FeaturesInvalid: naming `field`; none given, or made for another pool or text view, of another shape or type, or
        with a NaN or infinite value.
      ArtifactNotFound, ArtifactCorrupt: as the store does.
    """
    if not digest:
        raise FeaturesInvalid("the strategy ranks by embeddings and none were given", field=field)
    with _naming(field):
        folder = store.materialize(digest)
        about: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if about["pool"] != pool_digest:
            raise FeaturesInvalid("the embeddings were made for another pool", embedded=about["pool"], pool=pool_digest)
        if about["text_view"] != text_view.name:
            raise FeaturesInvalid(
                f"the embeddings are of {about['text_view']}, the strategy ranks by {text_view.name}",
                embedded=about["text_view"],
                want=text_view.name,
            )
        matrix: FloatArray = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        check_embeddings(matrix, ids, beat)
        return Embeddings(matrix, about["encoder"], about["truncated"], about["blank"])


def load_scores(
    store: ArtifactStore, digest: str, ids: Sequence[str], *, pool_digest: str, score: Score, field: str
) -> Scores:
    """Opens scores and checks them against the pool and against what the strategy goes by.

    Raises:
      FeaturesInvalid: naming `field`; none given, or made for another pool, of another kind or length, or not finite.
      ArtifactNotFound, ArtifactCorrupt: as the store does.
    """
    if not digest:
        raise FeaturesInvalid(f"the strategy goes by {score.name} and no scores were given", field=field)
    with _naming(field):
        return read_scores(store, digest, ids, pool_digest=pool_digest, score=score)


def check_embeddings(matrix: FloatArray, ids: Sequence[str], beat: Callable[[], None]) -> None:
    """Raises `FeaturesInvalid` unless `matrix` has one finite row for every id; names the first bad row."""
    shape = "x".join(str(length) for length in matrix.shape)
    if matrix.ndim != 2 or matrix.shape[0] != len(ids) or matrix.shape[1] == 0:
        raise FeaturesInvalid(
            f"the embeddings have shape {shape}, the pool has {len(ids)} rows", shape=shape, rows=len(ids)
        )
    if matrix.dtype.kind != "f":
        raise FeaturesInvalid(f"the embeddings are of type {matrix.dtype}, not float32", type=matrix.dtype)
    for start in range(0, len(matrix), BLOCK_ROWS):
        beat()
        # False for NaN, too, and for what a double holds and float32 does not.
        finite = (np.abs(matrix[start : start + BLOCK_ROWS]) <= np.finfo(np.float32).max).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise FeaturesInvalid(
                f"row {row} (id {ids[row]}) of the embeddings is NaN or infinite", row=row, id=ids[row]
            )


@contextlib.contextmanager
def _naming(field: str) -> Generator[None]:
    """Names the field in what is wrong with an artifact, also where it is none of the kind that belongs there."""
    try:
        yield
    except FeaturesInvalid as error:
        raise FeaturesInvalid(error.message, **{"field": field, **error.metadata}) from error
    except (KeyError, TypeError, ValueError, FileNotFoundError, NotADirectoryError) as error:
        raise FeaturesInvalid("the artifact is not of the kind that belongs here", field=field) from error


def _cut(matrix: FloatArray, rows: IntArray, path: Path, beat: Callable[[], None]) -> FloatArray:
    """Copies rows into a file block by block; written, not mapped, so that both never lie in memory at once."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), matrix.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)  # pyright: ignore[reportUnknownMemberType]
        for start in range(0, len(rows), BLOCK_ROWS):
            beat()
            file.write(matrix[rows[start : start + BLOCK_ROWS]].astype("<f4").tobytes())
    return np.load(path, mmap_mode="r", allow_pickle=False)
