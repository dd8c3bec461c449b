"""Intervals and tests for shares of independent units, alone and paired."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics.distributions import beta_quantile


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate | Missing:
    """Returns successes / n with the Wilson score interval; Missing(NO_DATA) when n is 0.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z the two-sided normal quantile. Never of zero width,
    at 0 and n included. Source: Wilson 1927; recommended by Brown, Cai and DasGupta 2001.
    """
    _check_counts(successes, n)
    if n == 0:
        return Missing("NO_DATA")
    p, z = successes / n, _two_sided_quantile(confidence)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(p, low, high, n)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Estimate | Missing:
    """Returns successes / n with the exact (conservative) interval; Missing(NO_DATA) when n is 0.

    The ends solve P(X >= k) = α/2 and P(X <= k) = α/2 for X ~ Binomial(n, p): quantiles of Beta(k, n-k+1) and
    Beta(k+1, n-k). Source: Clopper and Pearson 1934.
    """
    _check_counts(successes, n)
    if n == 0:
        return Missing("NO_DATA")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta_quantile(1 - tail, successes + 1, n - successes)
    return Estimate(successes / n, low, high, n)


def paired_proportion_difference(
    base: npt.NDArray[np.bool_], repaired: npt.NDArray[np.bool_], confidence: float = 0.95
) -> Estimate | Missing:
    """Returns share(repaired) - share(base) over the same units, with Newcombe's score interval.

    Square-and-add of the two Wilson intervals with the correlation φ of the pairs, φ's numerator corrected for
    continuity; never of zero width, so no resampling is needed. Source: Newcombe 1998, Statistics in Medicine 17,
    2635-2650, method 10.

    Args:
      base: (n,), whether the unit shows the trait at the base model.
      repaired: (n,), the same units in the same order at the repaired model.
      confidence: of the two-sided interval, (0, 1).
    """
    if base.shape != repaired.shape:
        raise ValueError(f"pairs need equal shapes, got {base.shape} and {repaired.shape}")
    n = int(base.size)
    one, two = wilson(int(repaired.sum()), n, confidence), wilson(int(base.sum()), n, confidence)
    if isinstance(one, Missing) or isinstance(two, Missing):
        return Missing("NO_DATA")
    phi = _corrected_phi(base, repaired)
    down, up = one.value - one.low, one.high - one.value
    base_down, base_up = two.value - two.low, two.high - two.value
    difference = one.value - two.value
    low = difference - math.sqrt(max(0.0, down**2 - 2 * phi * down * base_up + base_up**2))
    high = difference + math.sqrt(max(0.0, up**2 - 2 * phi * up * base_down + base_down**2))
    return Estimate(difference, max(-1.0, low), min(1.0, high), n)


def _corrected_phi(base: npt.NDArray[np.bool_], repaired: npt.NDArray[np.bool_]) -> float:
    """Returns the φ coefficient of the pairs, its numerator shrunk by n/2 when positive; 0 when a margin is empty."""
    n = int(base.size)
    both, neither = int((base & repaired).sum()), int((~base & ~repaired).sum())
    only_base, only_repaired = int((base & ~repaired).sum()), int((~base & repaired).sum())
    margins = (both + only_base) * (only_repaired + neither) * (both + only_repaired) * (only_base + neither)
    if margins == 0:
        return 0.0
    numerator = both * neither - only_base * only_repaired
    if numerator > 0:
        numerator = max(numerator - n / 2, 0)
    return numerator / math.sqrt(margins)


def mcnemar_exact(only_base: int, only_repaired: int) -> float:
    """Returns the two-sided exact p-value that a unit changes either way with equal probability.

    2 P(X <= min) for X ~ Binomial(only_base + only_repaired, 1/2), at most 1; 1 when no unit changed.
    Source: McNemar 1947, in its exact conditional form.
    """
    discordant = only_base + only_repaired
    _check_counts(only_base, discordant)
    tail = sum(math.comb(discordant, k) for k in range(min(only_base, only_repaired) + 1))
    return min(1.0, 2 * tail / 2**discordant)


def _two_sided_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _check_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"needs 0 <= successes <= n, got {successes} of {n}")
