"""Principal components: the directions of largest variance, exact and with a fixed sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from llm_repair.selection.features import FloatArray, blocks


def project(matrix: FloatArray, components: int) -> npt.NDArray[np.float32]:
    """Returns the centred rows in the space of the leading components, (n, components), not scaled or whitened.

    Args:
      matrix: (n, d), finite; read in blocks, three times.
      components: at least 1; capped by n and d. Directions without variance give zeros.

    Eigenvectors of the d x d covariance in float64: O(n d^2 + d^3), no random numbers. The sign makes the component
    of largest magnitude positive. Rounding to float32 hides what the order of summation does to the last bits, so
    equal rows stay equal points.
    """
    mean = sum(block.sum(axis=0) for _, block in blocks(matrix)) / len(matrix)
    covariance = np.zeros((matrix.shape[1], matrix.shape[1]))
    for _, block in blocks(matrix):
        centred = block - mean
        covariance += centred.T @ centred / len(matrix)
    _, vectors = np.linalg.eigh(covariance)
    kept = min(components, *matrix.shape)
    basis = _with_fixed_sign(vectors[:, ::-1][:, :kept])
    points = np.empty((len(matrix), kept), dtype=np.float32)
    for start, block in blocks(matrix):
        points[start : start + len(block)] = (block - mean) @ basis
    return points


def _with_fixed_sign(basis: npt.NDArray[Any]) -> npt.NDArray[Any]:
    leading = np.abs(basis).argmax(axis=0)
    signs = np.sign(basis[leading, np.arange(basis.shape[1])])
    return basis * np.where(signs == 0, 1, signs)
