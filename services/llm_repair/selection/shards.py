"""Shards: how a heavy step is cut into parts that could run anywhere.

Work is counted in atoms (a block of rows, a batch of texts) whose results do not depend on their neighbours. A shard
maps a run of whole atoms, the merge sees the results of all atoms in their order, and only then is anything picked. So
one shard, two or seven give the same result to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

T = TypeVar("T")


class Shards(Protocol):
    """Where shards are mapped."""

    def map(self, work: Callable[[range], T], atoms: int) -> list[T]:
        """Returns what `work` made of each shard, in the order of the atoms.

        Args:
          work: Given the atoms of one shard, at least one.
          atoms: How many there are.
        """
        ...


@dataclass(frozen=True)
class LocalShards:
    """Maps shards one after the other in this process."""

    count: int = 1
    """At least 1."""

    def map(self, work: Callable[[range], T], atoms: int) -> list[T]:
        """Maps `count` shards, fewer where there are fewer atoms."""
        return [work(span) for span in spans(atoms, self.count)]


ONE_SHARD: Final = LocalShards()


def spans(atoms: int, shards: int) -> list[range]:
    """Cuts atoms 0 to `atoms` - 1 into at most `shards` runs whose lengths differ by at most one; none is empty."""
    bounds = [atoms * number // shards for number in range(shards + 1)]
    return [range(start, end) for start, end in itertools.pairwise(bounds) if start < end]
