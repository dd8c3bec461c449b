"""How well scores tell two classes apart: the area under the ROC curve, with an interval that never has no width."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Final

import numpy as np

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics import FloatArray

_HALVINGS: Final = 60
"""Below a double's precision."""


def area_under_curve(positive: FloatArray, negative: FloatArray, confidence: float = 0.95) -> Estimate | Missing:
    """Returns the chance that a positive scores above a negative, ties by half; Missing without both classes.

    θ = (pairs won + ties / 2) / mn, Mann and Whitney's U over its largest value. The interval holds every θ' with
    (θ - θ')² <= z² V(θ'), where V(t) = t (1 - t) [1 + k (1 - t) / (2 - t) + k t / (1 + t)] / mn is the variance of
    Hanley and McNeil 1982 (Radiology 143, 29-36) with k = (m + n) / 2 - 1 in both places: Newcombe 2006, Statistics in
    Medicine 25, 559-573, method 5. Other than a Wald interval from the data's own variance it has a width at 0 and 1.

    Args:
      positive: (m,), scores of those that ought to score high.
      negative: (n,), scores of the others.
      confidence: of the two-sided interval, (0, 1).
    """
    m, n = positive.size, negative.size
    if not m or not n:
        return Missing("ONE_CLASS_ONLY" if m or n else "NO_DATA")
    ordered = np.sort(negative)
    below, up_to = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    area = float(below.sum() + up_to.sum()) / (2 * m * n)
    z, k = NormalDist().inv_cdf(0.5 + confidence / 2), (m + n) / 2 - 1

    def excess(candidate: float) -> float:
        spread = 1 + k * ((1 - candidate) / (2 - candidate) + candidate / (1 + candidate))
        return (area - candidate) ** 2 - z * z * candidate * (1 - candidate) * spread / (m * n)

    return Estimate(area, _root(excess, 0.0, area), _root(excess, 1.0, area), m + n)


def _root(excess: Callable[[float], float], outside: float, inside: float) -> float:
    """Returns where the function crosses 0 between a place of excess and one of none, from outside, by bisection."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (outside + inside)
        if excess(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside
