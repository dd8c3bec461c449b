"""What is kept of a token's margins from one measurement to the next, and what its score is in the end.

The margin of a token is its logit minus the largest other logit. A token is predicted if its margin is positive; a
tie is no prediction. Each history is a value: a measurement makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from llm_repair.core.selection import Score

FloatArray = npt.NDArray[np.float64]
MarginArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MarginSums:
    """For AUM: the sum of a token's margins (Pleiss et al., NeurIPS 2020, §3)."""

    sums: FloatArray
    """(tokens,)."""

    def after(self, margins: MarginArray) -> MarginSums:
        """Returns the history with one more measurement, (tokens,)."""
        return MarginSums(self.sums + margins)

    def per_token(self, measurements: int) -> FloatArray:
        """Returns the mean margin of each token, (tokens,)."""
        return self.sums / measurements


@dataclass(frozen=True)
class ForgettingCounts:
    """For FORGETTING: how often a token went from predicted to not predicted (Toneva et al., ICLR 2019, alg. 1)."""

    predicted: npt.NDArray[np.bool_]
    """(tokens,), at the latest measurement; false before the first."""
    ever_predicted: npt.NDArray[np.bool_]
    """(tokens,), at any measurement."""
    forgotten: npt.NDArray[np.int64]
    """(tokens,), times."""

    def after(self, margins: MarginArray) -> ForgettingCounts:
        """Returns the history with one more measurement, (tokens,)."""
        predicted = margins > 0
        return ForgettingCounts(
            predicted,
            self.ever_predicted | predicted,
            self.forgotten + (self.predicted & ~predicted),
        )

    def per_token(self, measurements: int) -> FloatArray:
        """Returns how often each token was forgotten, (tokens,); `measurements` where it was never predicted."""
        return np.where(self.ever_predicted, self.forgotten, measurements).astype(np.float64)


TokenHistory: TypeAlias = MarginSums | ForgettingCounts


def before_training(score: Score, tokens: int) -> TokenHistory:
    """Returns the empty history that AUM or FORGETTING needs."""
    if score is Score.AUM:
        return MarginSums(np.zeros(tokens))
    assert score is Score.FORGETTING
    return ForgettingCounts(np.zeros(tokens, np.bool_), np.zeros(tokens, np.bool_), np.zeros(tokens, np.int64))
