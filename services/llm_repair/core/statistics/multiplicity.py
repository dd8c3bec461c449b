"""Several criteria at once: p-values from intervals, and Holm's step-down adjustment.

Three guards tested at 5 % each let one pass by luck up to 14 % of the time. Holm's adjustment keeps the chance that
any false one passes below the level, whatever the dependence between them, and rejects at least what Bonferroni's
does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Missing, is_finite

_NORMAL = NormalDist()


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns the adjusted p-values, in the order given: a hypothesis is rejected at level α if its own is at most α.

    The k-th smallest of m becomes max over j <= k of min(1, (m - j + 1) p_(j)). Source: Holm 1979, Scandinavian
    Journal of Statistics 6, 65-70.

    Args:
      p_values: each in [0, 1]; a hypothesis that could not be tested counts with 1, see `one_sided_p_value`.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must lie in [0, 1]")
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return tuple(adjusted)


def one_sided_p_value(
    quantity: Estimate | Missing,
    bound: float,
    direction: Direction,
    confidence: float,
    *,
    kind: ChangeKind = ChangeKind.DIFFERENCE,
) -> float:
    """Returns the p-value of the hypothesis that the quantity is on the bad side of the bound, or on it.

    1 - Φ(z), z = z_c (bound - value) / half for lower is better: half is the width of the interval on the bound's
    side of the value, z_c the two-sided normal quantile of `confidence`. So p is (1 - confidence) / 2 exactly where
    the end of the interval meets the bound, and the two agree on every verdict at that level. At other levels, which
    the adjustment asks for, it assumes that the end moves away from the value in proportion to the normal quantile.
    That is exact for normal intervals, close for BCa and score intervals, on the safe side at stricter levels for
    confidence sequences, whose ends move less, and too bold for the exact interval of a rate near 0, whose end moves
    more: with no event, 0.006 stands for 0.009.

      no interval (Missing, not finite, a ratio not above 0)  1: nothing speaks for it, and it counts as one of many
      value on the bound                                      1/2
      half is 0                                               0 where the value is on the good side, else 1

    Args:
      quantity: with its two-sided interval.
      bound: to be on the good side of.
      direction: which side is good.
      confidence: of the interval, (0, 1).
      kind: a RATIO and its bound are compared on the log scale, where their intervals are made.
    """
    if isinstance(quantity, Missing) or not is_finite(quantity):
        return 1.0
    low, value, high = quantity.low, quantity.value, quantity.high
    if kind is ChangeKind.RATIO:
        if min(low, bound) <= 0:
            return 1.0
        low, value, high, bound = (math.log(number) for number in (low, value, high, bound))
    if direction is Direction.HIGHER_IS_BETTER:
        low, value, high, bound = -high, -value, -low, -bound
    gap = bound - value
    if gap == 0:
        return 0.5
    half = high - value if gap > 0 else value - low
    if half == 0:
        return 0.0 if gap > 0 else 1.0
    return _NORMAL.cdf(-_NORMAL.inv_cdf(0.5 + confidence / 2) * gap / half)
