"""Allocation: who receives the next seat when a budget is divided among clusters.

Both rules hand out seats one at a time, so the seats of a small budget are the first of a large one's
(house monotonicity), and a ranking built on them is nested. A rule by shares of the final budget, such as
largest remainders, has no such order (Balinski & Young, Fair Representation, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]


def webster_seats(sizes: Sequence[int]) -> IntArray:
    """Returns the cluster that receives each seat, (sum(sizes),), by the method of Webster (Sainte-Laguë).

    The next seat goes to the cluster with the largest size / (2 seats + 1); ties go to the larger cluster, then to
    the smaller index. No cluster receives more seats than its size, since the method gives exact shares their due.
    O(n log n).
    """
    cluster, place = _seats(sizes)
    size = np.asarray(sizes, dtype=np.int64)[cluster]
    # Exact for sizes below 2**25: equal ratios of such integers round equally, unequal ones do not meet.
    turn = (2 * place + 1) / np.maximum(2 * size, 1)
    return cluster[np.lexsort((cluster, -size, turn))]


def equal_seats(sizes: Sequence[int]) -> IntArray:
    """Returns the cluster that receives each seat, (sum(sizes),), one for each in turn while it has samples left.

    What a small cluster cannot take goes to the others, so that the seats of any budget add up.
    """
    cluster, place = _seats(sizes)
    return cluster[np.lexsort((cluster, place))]


def interleave(seats: IntArray, members: Sequence[IntArray]) -> IntArray:
    """Fills each seat with the next member of its cluster, (n,); every member is used once.

    Args:
      seats: the cluster of each seat, each cluster as often as it has members.
      members: of each cluster, in the order in which they are taken.
    """
    order = np.empty(len(seats), dtype=np.int64)
    # A stable sort lists the seats of cluster 0 in their order, then those of cluster 1, and so on.
    order[np.argsort(seats, kind="stable")] = np.concatenate([np.empty(0, dtype=np.int64), *members])
    return order


def _seats(sizes: Sequence[int]) -> tuple[IntArray, IntArray]:
    """Returns cluster and place in the cluster (0, 1, ...) of every seat there can be."""
    cluster = np.repeat(np.arange(len(sizes), dtype=np.int64), np.asarray(sizes, dtype=np.int64))
    places = [np.arange(size, dtype=np.int64) for size in sizes]
    return cluster, np.concatenate([np.empty(0, dtype=np.int64), *places])
