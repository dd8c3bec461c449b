"""Scores in the store: one number a pool row, with what they are of.

A tree of `scores.npy`, (n,) float64 in the order of the pool (by id), and `about.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import FeaturesInvalid
from llm_repair.core.execution import Artifact, Json
from llm_repair.core.selection import Score

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of a pool."""

    values: FloatArray
    """(n,), in the order of the pool."""
    score: Score
    about: Mapping[str, Json]
    """What they are of and how they were made."""

    @property
    def hardness(self) -> FloatArray:
        """The values turned so that larger is harder."""
        return -self.values if self.score.hard_is_low else self.values


def write_scores(
    store: ArtifactStore, folder: Path, values: FloatArray, ids: Sequence[str], about: Mapping[str, Json]
) -> Artifact:
    """Stores scores.

    Args:
      store: Where to.
      folder: Made here; for the files on their way.
      values: (n,), in the order of the pool.
      ids: Of the pool.
      about: At least `pool`, its digest, and `score`, the name of the score.

    Raises:
      FeaturesInvalid: a score is NaN or infinite, or there is not one for every row; names the first bad row.
    """
    check_scores(values, ids)
    folder.mkdir()
    np.save(folder / "scores.npy", np.asarray(values, dtype=np.float64), allow_pickle=False)
    (folder / "about.json").write_text(json.dumps(dict(about), sort_keys=True), encoding="utf-8")
    return store.put_tree(folder)


def read_scores(store: ArtifactStore, digest: str, ids: Sequence[str], *, pool_digest: str, score: Score) -> Scores:
    """Returns the scores of a pool.

    Raises:
      FeaturesInvalid: made for another pool, of another kind, of another length, or not finite.
      ArtifactNotFound, ArtifactCorrupt: as the store does.
    """
    folder = store.materialize(digest)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    if about["pool"] != pool_digest:
        raise FeaturesInvalid("the scores were made for another pool", scored=about["pool"], pool=pool_digest)
    if about["score"] != score.name:
        raise FeaturesInvalid(
            f"the scores are {about['score']}, the strategy goes by {score.name}", score=about["score"], want=score.name
        )
    values = np.load(folder / "scores.npy", mmap_mode="r", allow_pickle=False)
    check_scores(values, ids)
    return Scores(values, score, about)


def check_scores(values: FloatArray, ids: Sequence[str]) -> None:
    """Raises `FeaturesInvalid` unless there is one finite score for every id; names the first bad row."""
    if values.shape != (len(ids),):
        shape = "x".join(str(length) for length in values.shape)
        raise FeaturesInvalid(
            f"the scores have shape {shape}, the pool has {len(ids)} rows", shape=shape, rows=len(ids)
        )
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise FeaturesInvalid(f"row {row} (id {ids[row]}) of the scores is NaN or infinite", row=row, id=ids[row])
