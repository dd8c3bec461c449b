"""Pools that the cases work on, and who takes part."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from bench.lines import Line
from llm_repair.selection.features import Features

T = TypeVar("T")

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


@dataclass(frozen=True)
class Contender(Generic[T]):
    """Someone to compare with."""

    name: str
    run: Callable[[], T]
    needs: tuple[str, ...] = ()
    """Packages."""
    rows: range = range(1, 2**62)
    """The pools it takes part with; others take too much of its time or memory."""

    @property
    def absence(self) -> str:
        """Why it cannot take part with any pool; empty if it can."""
        missing = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return f"{', '.join(missing)} NOT INSTALLED" if missing else ""


def present(contenders: Iterable[Contender[T]], n: int) -> dict[str, Callable[[], T]]:
    """Returns those that take part with a pool of `n`, by name."""
    return {each.name: each.run for each in contenders if n in each.rows and not each.absence}


def absent(contenders: Iterable[Contender[T]], bench: str, n: int) -> Iterator[Line]:
    """Yields a line without figures for everyone who does not take part, so that none is missed silently."""
    for each in contenders:
        if each.absence or n not in each.rows:
            yield Line(bench, f"{each.name}: {each.absence or 'LEFT OUT'}", str(n))


def make_features(n: int) -> Features:
    """Returns a pool with embeddings."""
    return Features([f"sample-{row:07d}" for row in range(n)], make_embeddings(n))


def make_embeddings(n: int) -> Points:
    """Returns unit vectors around 40 centres, as sentence embeddings lie."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((40, WIDTH), dtype=np.float32)
    points = centres[rng.integers(40, size=n)] + rng.standard_normal((n, WIDTH), dtype=np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def make_planted(n: int, clusters: int, noise: float) -> tuple[Points, npt.NDArray[np.int64]]:
    """Returns unit vectors around centres of uneven shares, and the centre of each.

    Args:
      n: Rows.
      clusters: Centres.
      noise: Length of the noise as a multiple of that of the centres.
    """
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((clusters, WIDTH))
    planted = rng.choice(clusters, size=n, p=rng.dirichlet(np.full(clusters, 5.0)))
    points = centres[planted] + noise * rng.standard_normal((n, WIDTH))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), planted
