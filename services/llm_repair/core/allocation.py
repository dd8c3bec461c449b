"""Allocation: who receives the next seat when a budget is divided among clusters or strata.

All rules hand out seats one at a time, so the seats of a small budget are the first of a large one's (house
monotonicity), and a ranking built on them is nested. A rule by shares of the final budget, such as largest remainders,
has no such order (Balinski & Young, Fair Representation, 1982).
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
    by_size = np.argsort(-np.asarray(sizes, dtype=np.int64), kind="stable")
    cluster, place, size = _seats(sizes, by_size)
    # Exact for sizes below 2**25: equal ratios of such integers round equally, unequal ones do not meet.
    turn = (2 * place + 1) / (2 * size)
    return cluster[np.argsort(turn, kind="stable")]


def equal_seats(sizes: Sequence[int]) -> IntArray:
    """Returns the cluster that receives each seat, (sum(sizes),), one for each in turn while it has samples left.

    What a small cluster cannot take goes to the others, so that the seats of any budget add up. O(n).
    """
    cluster, place, _ = _seats(sizes, np.arange(len(sizes), dtype=np.int64))
    # Stable, so that within a round the clusters stay in their order.
    return cluster[stable_order(place, max(sizes, default=0))]


def coverage_seats(sizes: Sequence[int]) -> IntArray:
    """Returns the stratum that receives each seat, (sum(sizes),), so that every budget is that of Zheng et al. (CCS).

    They visit the strata from the smallest to the largest, and each receives min(its size, floor(budget left / strata
    left)). That fills all strata evenly, like water, and what does not divide goes to the strata visited last. So
    seats are given in rounds, as by `equal_seats`, and in each round the larger strata come first, of equal ones the
    larger index. O(n).
    """
    size = np.asarray(sizes, dtype=np.int64)
    visited_last_first = np.argsort(size, kind="stable")[::-1]
    # How many strata have a sample left in each round; these are the first of the order.
    left = len(size) - np.cumsum(np.bincount(size), dtype=np.int64)[:-1]
    place = np.arange(size.sum(), dtype=np.int64) - np.repeat(np.cumsum(left) - left, left)
    return visited_last_first[place]


def interleave(seats: IntArray, members: Sequence[IntArray]) -> IntArray:
    """Fills each seat with the next member of its cluster, (n,); every member is used once.

    Args:
      seats: the cluster of each seat, each cluster as often as it has members.
      members: of each cluster, in the order in which they are taken.
    """
    order = np.empty(len(seats), dtype=np.int64)
    # A stable sort lists the seats of cluster 0 in their order, then those of cluster 1, and so on.
    order[stable_order(seats, len(members))] = np.concatenate([np.empty(0, dtype=np.int64), *members])
    return order


def stable_order(labels: IntArray, count: int) -> IntArray:
    """Returns the positions by label, [0, count), equal labels in their order. O(n) up to 65,536 labels."""
    # NumPy's stable sort is a radix sort for integers of 16 bits, and twenty times as fast as for longer ones.
    return np.argsort(labels.astype(np.uint16) if count <= 1 << 16 else labels, kind="stable")


def _seats(sizes: Sequence[int], turns: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Returns cluster, place in it (0, 1, ...) and its size, of every seat there can be, cluster by cluster."""
    size = np.asarray(sizes, dtype=np.int64)[turns]
    starts = np.cumsum(size) - size
    place = np.arange(size.sum(), dtype=np.int64) - np.repeat(starts, size)
    return np.repeat(turns, size), place, np.repeat(size, size)
