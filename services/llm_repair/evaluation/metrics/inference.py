"""How the intervals of a comparison are made; the same for every family of metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_repair.core.metrics import Quantity
from llm_repair.core.statistics import DEFAULT_REPLICATES, FloatArray, generator, mean, paired_mean_difference


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

    def mean(self, values: FloatArray, support: tuple[float, float] | None) -> Quantity:
        """Returns the mean over prompts, values (prompts,)."""
        return mean(
            values, self.rng("prompts"), support=support, confidence=self.confidence, replicates=self.replicates
        )

    def difference(self, base: FloatArray, repaired: FloatArray, support: tuple[float, float] | None) -> Quantity:
        """Returns the paired difference of means over prompts, both (prompts,)."""
        return paired_mean_difference(
            base,
            repaired,
            self.rng("prompts"),
            support=support,
            confidence=self.confidence,
            replicates=self.replicates,
        )
