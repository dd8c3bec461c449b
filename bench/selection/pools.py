"""Pools that the cases work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.selection.features import Features

WIDTH = 384
"""Of all-MiniLM-L6-v2."""
SEED = 1
AS_GOOD = 1.01
"""Two exact greedy runs part ways at near ties by rounding, and then their radii differ a little either way."""

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """A pool and a budget."""

    n: int
    picks: int
    rounds: int

    def __str__(self) -> str:
        return f"{self.n} x {WIDTH}, {self.picks} picks"


def make_features(n: int) -> Features:
    """Returns a pool with embeddings."""
    return Features([f"sample-{row:07d}" for row in range(n)], make_embeddings(n))


def make_embeddings(n: int) -> Points:
    """Returns unit vectors around 40 centres, as sentence embeddings lie."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((40, WIDTH), dtype=np.float32)
    points = centres[rng.integers(40, size=n)] + rng.standard_normal((n, WIDTH), dtype=np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)
