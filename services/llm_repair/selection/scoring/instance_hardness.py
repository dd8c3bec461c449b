"""Instance hardness: how surely a classifier that never saw a pair would swap its chosen and rejected continuation.

Source: Smith, Martinez & Giraud-Carrier, An Instance Level Analysis of Data Complexity, Machine Learning 95 (2014),
§3: IH(x, y) = 1 - p(y | x), the probability out of fold and averaged over learners; and Bradley & Terry, Biometrika 39
(1952), for pairs: P(i beats j) = σ(w.x_i - w.x_j).

Stages:
1. difference: d = e(rejected) - e(chosen), scaled so that its mean square norm over the pool is 1.
2. fit:        w = argmin Σ log(1 + exp(-w.d)) + ½ ||w||², for each fold on the pairs outside it, by Newton's method.
3. hardness:   1 - σ(w.d) by the w of the fits that never saw the pair: 0.5 where nothing tells both sides apart.

We differ:
- A pair has no label but its order, so one learner sees differences and has no intercept: to swap a pair is to turn
  the sign of d, and hardness h becomes 1 - h.
- One learner; the paper averages nine. On 9,518 toxic and neutral sentence pairs (ParaDetox, all-MiniLM-L6-v2) with a
  tenth swapped, this one tells the swapped ones with an area under the curve of 0.999. Disagreeing neighbours (their
  kDN, k = 15) reach 0.983 in O(n²), and the mean of both is no better.
- Folds by seeded hash of the id in place of random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, FeaturesInvalid
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.hashing import seeded_hashes
from llm_repair.core.selection import Score, TextView
from llm_repair.core.steps import ScoreStep
from llm_repair.selection.atoms import atoms_of, rows_of, tree_sum
from llm_repair.selection.features import Embeddings, FloatArray, load_embeddings
from llm_repair.selection.shards import ONE_SHARD, Shards

Float64Array = npt.NDArray[np.float64]

FOLDS: Final = 5
RIDGE: Final = 1.0
"""Weight of ½ ||w||², that is a standard normal prior on w. From 0.3 to 10 the area under the curve above stays at or
over 0.998; a larger one draws all hardness to 0.5."""
_NO_FOLD: Final = -1
_MOST_STEPS: Final = 50
"""Newton's method took fewer than 10 on every pool tried."""
_TOLERANCE: Final = 1e-7
"""Largest component of a last step: the error left is its square, for the method converges quadratically."""
_DIGITS: Final = 6
"""Of hardness: hides what the number of threads does to the last bits of a matrix product."""


def hardness_scores(
    step: ScoreStep, ids: Sequence[str], store: ArtifactStore, context: StepContext, shards: Shards = ONE_SHARD
) -> tuple[Float64Array, Mapping[str, Json]]:
    """Returns the instance hardness of every pair, (n,) in [0, 1], and what it was made of.

    O(n d²) a pass in blocks, and d² of memory beside the memory-mapped embeddings.

    Raises:
      FeaturesInvalid: embeddings missing, of another pool, not finite, or by two encoders.
      DatasetInvalid: pairs without a rejected continuation.
    """
    pairs = _differences(step, ids, store, context)
    folds = seeded_hashes(ids, step.seed, "instance-hardness").astype(np.int64) % FOLDS
    fits = _Fits(pairs, folds, shards, context.raise_if_cancelled)
    context.progress(0, FOLDS + 1, "fits")
    # The fit on everything is where those without a fold start: it is near, and leaves no trace in where they end.
    start = fits.minimum(np.zeros(pairs.width), _NO_FOLD)
    values = np.empty(len(ids))
    for fold in range(FOLDS):
        context.progress(fold + 1, FOLDS + 1, "fits")
        inside = np.flatnonzero(folds == fold)
        if len(inside):
            values[inside] = pairs.hardness(fits.minimum(start, fold), inside)
    context.progress(FOLDS + 1, FOLDS + 1, "fits")
    about: dict[str, Json] = {
        "pool": step.pool_digest,
        "score": Score.INSTANCE_HARDNESS.name,
        "encoder": pairs.encoder,
        "seed": step.seed,
        "folds": FOLDS,
        "ridge": RIDGE,
        "alike": pairs.alike,
    }
    return np.round(values, _DIGITS), about


@dataclass(frozen=True)
class _Pairs:
    """Stage 1: the differences of a pool, made when they are read."""

    chosen: FloatArray
    """(n, d)."""
    rejected: FloatArray
    """(n, d)."""
    encoder: str
    scale: float = 1.0
    alike: int = 0
    """Pairs whose two sides have one embedding."""

    @property
    def width(self) -> int:
        return self.chosen.shape[1]

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, rows: slice | npt.NDArray[np.int64]) -> Float64Array:
        """Returns d of some rows."""
        return (self.rejected[rows].astype(np.float64) - self.chosen[rows]) * self.scale

    def hardness(self, weights: Float64Array, rows: npt.NDArray[np.int64]) -> Float64Array:
        """Stage 3, of some rows."""
        parts = [_sigmoid(-(self.read(rows[rows_of(atom)]) @ weights)) for atom in range(atoms_of(len(rows)))]
        return np.concatenate(parts)


def _differences(step: ScoreStep, ids: Sequence[str], store: ArtifactStore, context: StepContext) -> _Pairs:
    chosen = _loaded(step, TextView.CHOSEN, ids, store, context)
    rejected = _loaded(step, TextView.REJECTED, ids, store, context)
    if chosen.encoder != rejected.encoder or chosen.matrix.shape != rejected.matrix.shape:
        raise FeaturesInvalid(
            "chosen and rejected continuations were embedded by two encoders",
            field="rejected_embeddings_digest",
            chosen=chosen.encoder,
            rejected=rejected.encoder,
        )
    if blank := rejected.blank:
        raise DatasetInvalid(f"{blank} rows lack `rejected`, which instance hardness compares", rows=blank)
    pairs = _Pairs(chosen.matrix, rejected.matrix, chosen.encoder)
    norms = np.concatenate([_square_norms(pairs.read(rows_of(atom))) for atom in range(atoms_of(len(pairs)))])
    mean = float(norms.mean())
    return _Pairs(
        pairs.chosen,
        pairs.rejected,
        pairs.encoder,
        scale=mean**-0.5 if mean else 1.0,
        alike=int((norms == 0).sum()),
    )


def _loaded(
    step: ScoreStep, view: TextView, ids: Sequence[str], store: ArtifactStore, context: StepContext
) -> Embeddings:
    field = f"{view.name.lower()}_embeddings_digest"
    digest = step.chosen_embeddings_digest if view is TextView.CHOSEN else step.rejected_embeddings_digest
    return load_embeddings(
        store, digest, ids, pool_digest=step.pool_digest, text_view=view, field=field, beat=context.raise_if_cancelled
    )


def _square_norms(rows: Float64Array) -> Float64Array:
    return np.einsum("nd,nd->n", rows, rows)


@dataclass(frozen=True)
class _Moments:
    """The objective, or an atom's part of it, with its first and second derivative by w."""

    value: float
    gradient: Float64Array
    hessian: Float64Array

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian)


@dataclass(frozen=True)
class _Fits:
    """Stage 2."""

    pairs: _Pairs
    folds: npt.NDArray[np.int64]
    shards: Shards
    beat: Callable[[], None]

    def minimum(self, start: Float64Array, left_out: int) -> Float64Array:
        """Returns the weights that fit all pairs outside a fold; the objective is strictly convex, so they are one."""
        weights, here = start, self._moments(start, left_out)
        for _ in range(_MOST_STEPS):
            newton: Float64Array = np.linalg.solve(here.hessian, here.gradient).astype(np.float64, copy=False)
            if np.abs(newton).max() <= _TOLERANCE:
                break
            weights, here = self._descended(weights, here, newton, left_out)
        return weights

    def _descended(
        self, weights: Float64Array, here: _Moments, newton: Float64Array, left_out: int
    ) -> tuple[Float64Array, _Moments]:
        """Takes the step, or half of it as often as the objective would rise."""
        share = 1.0
        while True:
            there = self._moments(weights - share * newton, left_out)
            # What rounding adds to a sum of n terms is no rise.
            if there.value <= here.value + 1e-12 * abs(here.value):
                return weights - share * newton, there
            share /= 2

    def _moments(self, weights: Float64Array, left_out: int) -> _Moments:
        total = tree_sum(
            lambda atom: self._of_atom(atom, weights, left_out),
            atoms_of(len(self.pairs)),
            self.shards,
            _Moments.__add__,
        )
        ridge = _Moments(RIDGE / 2 * float(weights @ weights), RIDGE * weights, RIDGE * np.eye(len(weights)))
        return total + ridge

    def _of_atom(self, atom: int, weights: Float64Array, left_out: int) -> _Moments:
        self.beat()
        rows = rows_of(atom)
        differences = self.pairs.read(rows)[self.folds[rows] != left_out]
        margins = differences @ weights
        swapped = _sigmoid(-margins)
        curvature = swapped * (1 - swapped)
        return _Moments(
            float(np.logaddexp(0, -margins).sum()),
            -(swapped @ differences),
            (differences * curvature[:, None]).T @ differences,
        )


def _sigmoid(margins: Float64Array) -> Float64Array:
    return np.exp(-np.logaddexp(0, -margins))
