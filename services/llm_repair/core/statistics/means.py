"""Means and ratios over units with BCa intervals, one side alone and paired."""

from __future__ import annotations

import numpy as np

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics.arrays import FloatArray
from llm_repair.core.statistics.resampling import ANY_NUMBER, DEFAULT_REPLICATES, bootstrap

_FEW_DEVIATING_UNITS = 7
"""Below so many units off the common value a bootstrap has not seen the tail. Simulated with zeros and Beta values in
100 to 200 prompts: at 6 coverage is 93.9 % where 12 are expected, at 8 it is 97.5 % where 10 are."""


def mean(
    values: FloatArray,
    rng: np.random.Generator,
    *,
    support: tuple[float, float] | None = None,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns the mean of one value per unit with its BCa interval.

    With a `support`, sparse data get an exact part. When at least half of the units share one value and fewer
    than 7 deviate, the data say little about how units deviate that were not drawn: with probability
    1 - α/2 at most u = 1 - (α/2)^(1/n) of all units are of a kind that n draws did not show, and these could
    lie anywhere in the support, so the interval is joined with [v - u (v - lowest), v + u (highest - v)].
    At no event in n this is the Clopper-Pearson interval. Without a support equal values are NO_VARIATION.

    Args:
      values: (n,).
      rng: drawn from.
      support: lowest and highest value a unit can take; None where there is no limit.
      confidence: of the two-sided interval, (0, 1).
      replicates: number of resamples.
    """
    estimate = bootstrap(
        values[:, np.newaxis],
        lambda means: means[:, 0],
        rng,
        support=support or ANY_NUMBER,
        confidence=confidence,
        replicates=replicates,
    )
    if support is None:
        return estimate
    if estimate == Missing("NO_VARIATION"):
        value = float(values.mean())
        return _joined_with_unseen(Estimate(value, value, value, int(values.size)), support, confidence)
    if isinstance(estimate, Missing) or not _is_sparse(values):
        return estimate
    return _joined_with_unseen(estimate, support, confidence)


def _is_sparse(values: FloatArray) -> bool:
    """Returns whether at least half of the values are one value and fewer than 7 differ from it."""
    common = int(np.unique(values, return_counts=True)[1].max())
    deviating = int(values.size) - common
    return deviating < _FEW_DEVIATING_UNITS and deviating <= common


def _joined_with_unseen(estimate: Estimate, support: tuple[float, float], confidence: float) -> Estimate:
    lowest, highest = support
    unseen = 1 - ((1 - confidence) / 2) ** (1 / estimate.n)
    low = estimate.value - unseen * (estimate.value - lowest)
    high = estimate.value + unseen * (highest - estimate.value)
    return Estimate(estimate.value, min(estimate.low, low), max(estimate.high, high), estimate.n)


def paired_mean_difference(
    base: FloatArray,
    repaired: FloatArray,
    rng: np.random.Generator,
    *,
    support: tuple[float, float] | None = None,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns mean(repaired - base) over the same units, as `mean` of the per-unit differences.

    Args:
      base: (n,).
      repaired: (n,), the same units in the same order.
      rng: drawn from.
      support: of the values themselves, not of their difference.
      confidence: of the two-sided interval, (0, 1).
      replicates: number of resamples.
    """
    if base.shape != repaired.shape:
        raise ValueError(f"pairs need equal shapes, got {base.shape} and {repaired.shape}")
    width = None if support is None else (support[0] - support[1], support[1] - support[0])
    return mean(repaired - base, rng, support=width, confidence=confidence, replicates=replicates)


def ratio_of_sums(
    numerator: FloatArray,
    denominator: FloatArray,
    rng: np.random.Generator,
    *,
    support: tuple[float, float] = ANY_NUMBER,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns Σ numerator / Σ denominator over units, both (n,), with its BCa interval; `support` is of the ratio."""
    units = np.stack([numerator, denominator], axis=1)
    return bootstrap(
        units, lambda m: m[:, 0] / m[:, 1], rng, support=support, confidence=confidence, replicates=replicates
    )


def paired_ratio_difference(
    base: tuple[FloatArray, FloatArray],
    repaired: tuple[FloatArray, FloatArray],
    rng: np.random.Generator,
    *,
    support: tuple[float, float] = ANY_NUMBER,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns ratio_of_sums(repaired) - ratio_of_sums(base) over the same units, each (numerator, denominator).

    `support` is of the difference.
    """
    units = np.stack([*base, *repaired], axis=1)
    return bootstrap(
        units,
        lambda m: m[:, 2] / m[:, 3] - m[:, 0] / m[:, 1],
        rng,
        support=support,
        confidence=confidence,
        replicates=replicates,
    )
