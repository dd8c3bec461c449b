"""Principal components: the directions of largest variance, exact and with a fixed sign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llm_repair.selection.atoms import atoms_of, rows_of, tree_sum
from llm_repair.selection.features import FloatArray
from llm_repair.selection.shards import ONE_SHARD, Shards
from llm_repair.selection.threads import one_blas_thread

Float64Array = npt.NDArray[np.float64]


def project(matrix: FloatArray, components: int, shards: Shards = ONE_SHARD) -> npt.NDArray[np.float32]:
    """Returns the centred rows in the space of the leading components, (n, components), not scaled or whitened.

    Args:
      matrix: (n, d), finite; read by atoms, twice, so it may be memory-mapped.
      components: at least 1; capped by n and d. Directions without variance give zeros, but for rounding.
      shards: Any number of them gives the same bits.

    Eigenvectors of the d x d covariance in float64, on one thread: O(n d^2 + d^3), no random numbers. The sign makes
    the component of largest magnitude positive. Every row is projected by itself, so equal rows are equal points.
    """
    atoms = atoms_of(len(matrix))
    with one_blas_thread():
        mean, covariance = _moments(matrix, atoms, shards)
        _, vectors = np.linalg.eigh(covariance)
        # eigh lists them in columns, the largest variance last.
        directions = _with_fixed_sign(vectors.T[::-1][: min(components, *matrix.shape)])
        parts = shards.map(lambda span: [_projected(matrix[rows_of(atom)], mean, directions) for atom in span], atoms)
    return np.concatenate([points for part in parts for points in part])


def _moments(matrix: FloatArray, atoms: int, shards: Shards) -> tuple[Float64Array, Float64Array]:
    """Returns the mean, (d,), and the covariance, (d, d), in one pass."""
    # Moments about a point near the mean: about the origin they would cancel where the mean is far from it.
    origin = matrix[rows_of(0)].mean(axis=0, dtype=np.float64)

    def sums(atom: int) -> tuple[Float64Array, Float64Array]:
        away = matrix[rows_of(atom)] - origin
        # A product with its own transpose: NumPy computes one triangle and mirrors it.
        return away.sum(axis=0), away.T @ away

    total, products = tree_sum(sums, atoms, shards, lambda left, right: (left[0] + right[0], left[1] + right[1]))
    shift = total / len(matrix)
    return origin + shift, products / len(matrix) - np.outer(shift, shift)


def _projected(block: FloatArray, mean: Float64Array, directions: Float64Array) -> npt.NDArray[np.float32]:
    # One product a row: in a product of matrices the last bits depend on the place of a row.
    return np.matmul(directions, (block - mean)[:, :, None])[:, :, 0].astype(np.float32)


def _with_fixed_sign(directions: Float64Array) -> Float64Array:
    leading = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), leading])
    return np.ascontiguousarray(directions * np.where(signs == 0, 1, signs)[:, None])
