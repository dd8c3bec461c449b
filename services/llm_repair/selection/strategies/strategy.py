"""What a selection strategy is: a ranking of the pool, of which a budget takes the beginning.

Because every strategy ranks and never picks a set for one budget, 10 % is a prefix of 20 % by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray
from llm_repair.selection.clustering import Clusters
from llm_repair.selection.features import Features


@dataclass(frozen=True)
class Ranking:
    """Rows of the pool, best first, without repeats."""

    rows: IntArray
    """Row numbers; at least as many as there were places asked for."""
    clusters: Clusters | None = None
    """Of all pool rows, where the strategy clusters."""
    points: npt.NDArray[np.float32] | None = None
    """(n, components): where the strategy saw each pool row, leading components first."""


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
