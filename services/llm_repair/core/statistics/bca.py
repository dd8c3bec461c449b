"""Where the ends of a bootstrap interval lie: BCa, and repairs for data that are few, sparse or heavy-tailed.

The bias-corrected and accelerated interval (Efron 1987; Efron and Tibshirani 1993, ch. 14) of a function of several
independent families of units (Davison and Hinkley 1997, §5.3.2), from the observed value, the replicates and the
jackknife influences of the units. By itself it is too narrow where few units carry the estimate. Hence

  * the tails of Student's t (Hesterberg 2015, The American Statistician 69, §4.3), but with the degrees of freedom
    that the variance was estimated with (Satterthwaite 1946), which are far below n - 1 where a few large units lie
    among zeros;
  * the correction for skewness only as far as the skewness stands out of its own noise. What is all noise moves the
    interval to where the luck of the draw went, away from the truth;
  * below 10 units also the interval of Student's t: no mean of resampled units lies beyond the largest of them, so the
    bootstrap of 3 units held the truth in 75 % of simulated samples, and of 5 in 90 %; together it is 93 to 97 % for
    light tails, and 86 to 92 % for skewed scores, of which so few units show too little.

With changes of either sign in a tenth of 120 prompts BCa held the truth in 91 % of simulated samples, with 60
documents of unequal length in 93 %; with both repairs it is 93 to 95 % and 95 %, and 94 to 97 % wherever BCa alone
did well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from llm_repair.core.statistics.arrays import FloatArray
from llm_repair.core.statistics.distributions import student_t_quantile

_TIE = 1e-9  # share of the replicates' range: rounding must not decide on which side a tie falls
_NOISE_WEIGHT = 2.0  # as in Akaike's criterion: what is not twice its noise is better left out
_FEW_UNITS = 10
"""Of a family: below, resamples are too much alike to show a tail."""
_NORMAL = NormalDist()


def bca_interval(
    observed: float, draws: FloatArray, influences: Sequence[FloatArray], confidence: float
) -> tuple[float, float]:
    """Returns the ends of the interval.

    Args:
      observed: the statistic on the data.
      draws: (replicates,), the statistic on the resamples.
      influences: one array (n_f,) a family, n_f >= 2: l_j = (n_f - 1) (mean of t_(-i) - t_(-j)).
      confidence: of the two-sided interval, (0, 1).
    """
    trust, full = skewness_trust(influences), acceleration(influences)
    # For a linear statistic the bias is its skewness once more; what nonlinearity adds to it stays.
    bias = median_bias(observed, draws) - (1 - trust) * full
    low, high = bca_ends(draws, bias, trust * full, student_tail(confidence, influences))
    if min(units.size for units in influences) >= _FEW_UNITS:
        return low, high
    half = student_half_width(confidence, influences)
    return min(low, observed - half), max(high, observed + half)


def bca_ends(draws: FloatArray, bias: float, acceleration: float, tail: float) -> tuple[float, float]:
    """Returns the quantiles of the replicates at Φ(z0 + (z0 + z) / (1 - a (z0 + z))), z = ±Φ⁻¹(tail).

    Source: Efron and Tibshirani 1993, eq. 14.9 and 14.10.

    Args:
      draws: (replicates,).
      bias: z0, normal quantile.
      acceleration: a.
      tail: probability outside each end, (0, 0.5).
    """
    levels = [_level(bias + sign * _NORMAL.inv_cdf(tail), bias, acceleration) for sign in (1, -1)]
    low, high = np.quantile(draws, levels)
    return float(low), float(high)


def _level(shifted: float, bias: float, acceleration: float) -> float:
    denominator = 1 - acceleration * shifted
    if denominator <= 0:  # skewed beyond what the correction can express: the extreme replicate
        return 0.0 if shifted < bias else 1.0
    return _NORMAL.cdf(bias + shifted / denominator)


def median_bias(observed: float, draws: FloatArray) -> float:
    """Returns z0 = Φ⁻¹(share of replicates below the observed value, ties by half); E. and T. 1993, eq. 14.14."""
    tie = _TIE * float(np.ptp(draws))
    below = (np.mean(draws < observed - tie) + np.mean(draws <= observed + tie)) / 2
    # All replicates on one side would make it infinite; half a replicate is the most that can be resolved.
    return _NORMAL.inv_cdf(float(np.clip(below, 0.5 / draws.size, 1 - 0.5 / draws.size)))


def acceleration(influences: Sequence[FloatArray]) -> float:
    """Returns a = Σ_f n_f⁻³ Σ l³ / (6 (Σ_f n_f⁻² Σ l²)^1.5): a sixth of the skewness of the linear approximation.

    Source: Davison and Hinkley 1997, §5.3.2; for one family Efron and Tibshirani 1993, eq. 14.15.
    """
    return sum(float(np.sum(units**3)) / units.size**3 for units in _standardised(influences)) / 6


def skewness_trust(influences: Sequence[FloatArray]) -> float:
    """Returns how far the skewness stands out of its noise: max(0, 1 - 2 v / γ²), [0, 1).

    γ is the skewness of the linear approximation, v = Σ_f n_f⁻⁵ mean((l³ - 3 m l)²) / (Σ_f n_f⁻² Σ l²)³ with
    m = mean(l²) the variance of its estimate if there is none; for one family of normal units v = 6 / n².
    """
    standard, gamma = _standardised(influences), 6 * acceleration(influences)
    noise = sum(float(np.mean((units**3 - 3 * np.mean(units**2) * units) ** 2)) / units.size**5 for units in standard)
    return max(0.0, 1 - _NOISE_WEIGHT * noise / gamma**2) if gamma else 0.0


def student_tail(confidence: float, influences: Sequence[FloatArray]) -> float:
    """Returns the tail to ask of a bootstrap so that its interval is as wide as Student's t.

    Φ(-w t): w = sqrt(n/(n-1)) makes the bootstrap's variance unbiased, of several families that of their sum; t is
    the two-sided quantile with the degrees of freedom ν = 2 V² / Var(V), V = Σ_f s_f² / n_f the variance of the
    linear approximation, Var(V) = Σ_f (k_f - (n_f-3)/(n_f-1)) s_f⁴ / n_f³ with the kurtosis k_f, taken as 3 at least
    (Cramér 1946, §27.4). At k = 3 it is n - 1, and for several families Welch's.

    Args:
      confidence: of the two-sided interval, (0, 1).
      influences: one array (n_f,) a family, n_f >= 2.
    """
    standard = _standardised(influences)
    plain = sum(float(np.mean(units**2)) / units.size for units in standard)
    freedom = _freedom(standard)
    widening = sum(_variances(standard)) / plain if plain > 0 else (freedom + 1) / freedom
    t = student_t_quantile((1 - confidence) / 2, freedom)
    # Beyond Φ(-37) the double is 0 and has no quantile; any replicate count is exhausted long before.
    return max(_NORMAL.cdf(-math.sqrt(widening) * t), 1e-12)


def student_half_width(confidence: float, influences: Sequence[FloatArray]) -> float:
    """Returns t sqrt(V): the reach of Student's t to either side, with V and its ν as of `student_tail`."""
    t = student_t_quantile((1 - confidence) / 2, _freedom(_standardised(influences)))
    return t * math.sqrt(sum(_variances(influences)))


def _variances(influences: Sequence[FloatArray]) -> list[float]:
    """Returns s_f² / n_f of every family, unbiased."""
    return [float(np.sum(units**2)) / (units.size - 1) / units.size for units in influences]


def _freedom(standard: Sequence[FloatArray]) -> float:
    """Returns ν of `student_tail`; flat at the data the smallest family decides."""
    variances = _variances(standard)
    noise = sum(v**2 * _relative_noise(units) for v, units in zip(variances, standard, strict=True))
    if noise == 0:
        return min(units.size for units in standard) - 1
    return round(2 * sum(variances) ** 2 / noise, 6)  # with one family of light tails n - 1, but for rounding


def _relative_noise(units: FloatArray) -> float:
    """Returns Var(s²) / σ⁴ of the units' variance, at least that of normal units, 2 / (n - 1)."""
    n, variance = units.size, float(np.mean(units**2))
    if variance == 0:
        return 0.0
    kurtosis = max(3.0, float(np.mean(units**4)) / variance**2)
    return (kurtosis - (n - 3) / (n - 1)) / n


def _standardised(influences: Sequence[FloatArray]) -> list[FloatArray]:
    """Returns influences of a statistic of variance 1, so that powers neither vanish nor overflow; 0 where flat."""
    variance = sum(float(np.sum(units**2)) / units.size**2 for units in influences)
    scale = math.sqrt(variance) if variance > 0 else 1.0
    return [units / scale for units in influences]
