"""FULL: the whole pool, the control that shows what selection gives up.

Source: the formal goal of arXiv 2510.20428 compares every subset with full-data repair.

Constants of the release: N = 4,400 for GPT-Neo 1.3B repaired by IREPAIR_KL.

We differ:
- The study's full data is the number of samples that full-data repair consumed before it stopped early; here it is
  the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.selection import FullStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.strategy import Ranking


@dataclass(frozen=True)
class FullSelection:
    """FULL; has no parameters."""

    parameters: FullStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the pool by id.

        Raises:
          InvalidFields: the budget is not the whole pool.
        """
        if places < len(features):
            raise InvalidFields(
                [FieldViolation("budget.limit", f"must be the whole pool of {len(features)} for FULL, is {places}")]
            )
        return Ranking(np.arange(len(features), dtype=np.int64))
