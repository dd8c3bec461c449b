"""Principal components: the directions of largest variance, exact and with a fixed sign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llm_repair.selection.atoms import atoms_of, rows_of, tree_sum
from llm_repair.selection.features import FloatArray
from llm_repair.selection.shards import ONE_SHARD, Shards
from llm_repair.selection.threads import one_blas_thread

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_LEAST_NARROW = 2.0**-30
"""Rows whose largest coordinate is this small, or the inverse of it large, have squares that float32 may not hold."""


def project(matrix: FloatArray, components: int, shards: Shards = ONE_SHARD) -> Float32Array:
    """Returns the centred rows in the space of the leading components, (n, components), not scaled or whitened.

    Args:
      matrix: (n, d), finite; read by atoms, twice, so it may be memory-mapped.
      components: at least 1; capped by n and d. Directions without variance give zeros, but for rounding.
      shards: Any number of them gives the same bits.

    Eigenvectors of the whole d x d covariance, on one thread: O(n d^2 + d^3), no random numbers. Products of float32
    rows are summed in float32 within an atom, and in float64 from there on. The sign makes the component of largest
    magnitude positive. Every row is projected by itself, so equal rows are equal points.
    """
    atoms = atoms_of(len(matrix))
    with one_blas_thread():
        mean, covariance = _moments(matrix, atoms, shards)
        _, vectors = np.linalg.eigh(covariance)
        # eigh lists them in columns, the largest variance last.
        directions = _with_fixed_sign(vectors.T[::-1][: min(components, *matrix.shape)]).astype(np.float32)
        centre = mean.astype(np.float32)
        parts = shards.map(lambda span: [_projected(matrix[rows_of(atom)], centre, directions) for atom in span], atoms)
    return np.concatenate([points for part in parts for points in part])


def _moments(matrix: FloatArray, atoms: int, shards: Shards) -> tuple[Float64Array, Float64Array]:
    """Returns the mean, (d,), and the covariance, (d, d), in one pass."""
    # Moments about a point near the mean: about the origin they would cancel where the mean is far from it.
    origin = matrix[rows_of(0)].mean(axis=0, dtype=np.float64).astype(np.float32)

    def sums(atom: int) -> tuple[Float64Array, Float64Array]:
        away = (matrix[rows_of(atom)] - origin).astype(np.float32, copy=False)
        return away.sum(axis=0, dtype=np.float64), _products(away)

    total, products = tree_sum(sums, atoms, shards, lambda left, right: (left[0] + right[0], left[1] + right[1]))
    shift = total / len(matrix)
    return origin + shift, products / len(matrix) - np.outer(shift, shift)


def _products(away: Float32Array) -> Float64Array:
    """Returns the sums of products of all pairs of columns, (d, d)."""
    # Products with its own transpose: NumPy computes one triangle and mirrors it.
    if _LEAST_NARROW < np.abs(away).max() < 1 / _LEAST_NARROW:
        return (away.T @ away).astype(np.float64)
    wide = away.astype(np.float64)
    return wide.T @ wide


def _projected(block: FloatArray, mean: Float32Array, directions: Float32Array) -> Float32Array:
    # One product a row: in a product of matrices the last bits depend on the place of a row.
    return np.matmul(directions, (block - mean).astype(np.float32, copy=False)[:, :, None])[:, :, 0]


def _with_fixed_sign(directions: Float64Array) -> Float64Array:
    leading = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), leading])
    return np.ascontiguousarray(directions * np.where(signs == 0, 1, signs)[:, None])
