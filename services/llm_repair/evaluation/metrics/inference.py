"""How the intervals of a comparison are made; the same for every family of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_repair.core.metrics import Estimate, Missing, Quantity
from llm_repair.core.statistics import DEFAULT_REPLICATES, FloatArray, generator, mean, paired_mean_difference

GATE_PROMPTS = "prompts"
"""Units of the metrics that the gate goes by."""


@dataclass(frozen=True)
class Inference:
    """Protocol id, confidence and seed that every metric of a comparison shares."""

    protocol: str
    confidence: float
    seed: int
    replicates: int = DEFAULT_REPLICATES

    def rng(self, units: str) -> np.random.Generator:
        """Returns a generator for resampling `units`, such as `prompts`.

        The same units are resampled the same way for every metric, so metrics of one comparison move together.
        """
        return generator(self.seed, f"bootstrap {units}")

    def mean(self, values: FloatArray, support: tuple[float, float] | None, units: str = GATE_PROMPTS) -> Quantity:
        """Returns the mean over units, values (units,)."""
        return mean(values, self.rng(units), support=support, confidence=self.confidence, replicates=self.replicates)

    def difference(
        self, base: FloatArray, repaired: FloatArray, support: tuple[float, float] | None, units: str = GATE_PROMPTS
    ) -> Quantity:
        """Returns the paired difference of means over units, both (units,)."""
        return paired_mean_difference(
            base,
            repaired,
            self.rng(units),
            support=support,
            confidence=self.confidence,
            replicates=self.replicates,
        )


def reaching(estimate: Quantity, ends: Sequence[Quantity], *, n: int | None = None) -> Quantity:
    """Returns the estimate with an interval that also holds those of all `ends`; the first Missing where there is one.

    Args:
      estimate: its value stays.
      ends: what else could be true.
      n: units, if not those of the estimate.
    """
    if isinstance(estimate, Missing):
        return estimate
    low, high = estimate.low, estimate.high
    for end in ends:
        if isinstance(end, Missing):
            return end
        low, high = min(low, end.low), max(high, end.high)
    return Estimate(estimate.value, low, high, estimate.n if n is None else n)
