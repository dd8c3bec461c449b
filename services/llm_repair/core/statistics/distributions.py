"""Quantiles of the beta and Student t distributions, from the standard library alone.

The core stays free of scipy so that the coordinator does; scipy is the oracle in the tests.
"""

from __future__ import annotations

import functools
import math

_TINY = 1e-300
_CONVERGED = 1e-15
_PRECISION = 4e-15  # of a quantile; below, the rounding of its function decides
_MAX_TERMS = 20_000  # Lentz needs about sqrt(max(a, b)) terms; enough for n around 1e7


def regularised_incomplete_beta(a: float, b: float, x: float) -> float:
    """Returns I_x(a, b) = P(X <= x) for X ~ Beta(a, b), with a, b > 0 and x in [0, 1].

    Continued fraction of DLMF 8.17.22, evaluated by the modified Lentz method; relative error about 1e-12.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # The fraction converges fast only below the mean; above it the symmetry I_x(a,b) = 1 - I_{1-x}(b,a) serves.
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_front) * _continued_fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _continued_fraction(b, a, 1.0 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Returns the value of the fraction 1/(1 + d1/(1 + d2/(1 + ...))) of DLMF 8.17.22."""
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _CONVERGED:
            return value
    raise ArithmeticError(f"incomplete beta did not converge at a={a:g}, b={b:g}, x={x:g}")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Returns the x in [0, 1] with I_x(a, b) = `probability`, to about 1e-14 of it, for a probability in [0, 1].

    Newton's method from the mean, kept inside a bracket that every step narrows: a step that would leave it, or that
    does not halve the one before, is a bisection instead.
    """
    if not 0.0 < probability < 1.0:
        return min(max(probability, 0.0), 1.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high, x, before = 0.0, 1.0, a / (a + b), 1.0
    while True:
        error = regularised_incomplete_beta(a, b, x) - probability
        low, high = (x, high) if error < 0 else (low, x)
        slope = math.exp(log_front + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = -error / slope if slope > 0 else math.inf
        if not (low < x + step < high and abs(step) <= before / 2):
            step = (low + high) / 2 - x
        if abs(step) <= _PRECISION * x or x + step in (low, high):
            return x + step
        x, before = x + step, abs(step)


@functools.lru_cache(maxsize=1024)  # the same few sizes again and again
def student_t_quantile(upper_tail: float, degrees_of_freedom: float) -> float:
    """Returns the t with P(T > t) = `upper_tail`, for an upper tail in (0, 0.5) and at least 1 degree of freedom.

    From P(T > t) = I_x(ν/2, 1/2) / 2 with x = ν / (ν + t²).
    """
    x = beta_quantile(2.0 * upper_tail, degrees_of_freedom / 2.0, 0.5)
    return math.sqrt(degrees_of_freedom * (1.0 - x) / x)
