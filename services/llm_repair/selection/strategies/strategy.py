"""What a selection strategy is: a ranking of the pool, of which a budget takes the beginning.

Because every strategy ranks and never picks a set for one budget, 10 % is a prefix of 20 % by construction. A filter
only drops samples; the strategy inside it ranks what is left as if it were the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray
from llm_repair.selection.clustering import Clusters
from llm_repair.selection.features import Features, FloatArray


@dataclass(frozen=True)
class Strata:
    """A partition of the samples by their score."""

    labels: IntArray
    """(n,), [0, k); k where the sample was pruned."""
    edges: npt.NDArray[np.float64]
    """(k - 1,), ascending: a stratum holds the scores from the edge below it, up to but not including the next."""

    def sizes(self) -> IntArray:
        """Returns the number of samples of each stratum, (k,)."""
        return np.bincount(self.labels, minlength=len(self.edges) + 1)[: len(self.edges) + 1]


@dataclass(frozen=True)
class Ranking:
    """Rows of the pool, best first, without repeats."""

    rows: IntArray
    """Row numbers; at least as many as there were places asked for."""
    clusters: Clusters | None = None
    """Of all pool rows, where the strategy clusters."""
    points: npt.NDArray[np.float32] | None = None
    """(n, components): where the strategy saw each pool row, leading components first."""
    strata: Strata | None = None
    """Of all pool rows, where the strategy stratifies."""


class Strategy(Protocol):
    """Ranks a pool. Deterministic in its arguments; rows come ascending by id, so their source order never shows."""

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks at least the best `places` rows; more places never change the earlier ones.

        Args:
          features: of n rows, n at least 1, checked to be finite.
          seed: of the job; equal seeds give equal rankings.
          places: [1, n].
        """
        ...


@dataclass(frozen=True)
class Filtered:
    """What a filter keeps, and why it drops the rest."""

    kept: npt.NDArray[np.bool_]
    """(n,)."""
    too_low: npt.NDArray[np.bool_]
    """(n,), dropped for a score below the bounds."""
    too_high: npt.NDArray[np.bool_]
    """(n,), dropped for a score above the bounds."""


class Filter(Protocol):
    """Drops samples by their score, each by its own alone."""

    def keep(self, scores: FloatArray) -> Filtered:
        """Returns which samples are kept.

        Args:
          scores: (n,), finite, not turned: as the score is defined.
        """
        ...


def within(scores: FloatArray, *, low: float, high: float) -> Filtered:
    """Keeps the scores in [low, high]."""
    too_low, too_high = scores < low, scores > high
    return Filtered(~(too_low | too_high), too_low, too_high)


def hardest_first(hardness: FloatArray) -> IntArray:
    """Returns all rows, the hardest first, ties by id."""
    # Rows ascend by id and the sort is stable, so the smaller id comes first among equals.
    return np.argsort(-np.asarray(hardness), kind="stable")
