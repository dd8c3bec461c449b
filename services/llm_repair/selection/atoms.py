"""Atoms: the blocks of rows in which a matrix is read, and sums over them that no cut into shards can change.

Addition in floating point depends on the order of its terms, so the sums of atoms are added along one binary tree over
all atoms: a shard adds up the subtrees that lie wholly within it, the merge adds up the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

from llm_repair.selection.shards import Shards

T = TypeVar("T")

ATOM_ROWS = 2048
"""6 MB at 384 dimensions in float64: large enough for matrix products, small enough for the last-level cache."""


def atoms_of(rows: int) -> int:
    """Returns how many atoms so many rows have; only the last can be short."""
    return -(-rows // ATOM_ROWS)


def rows_of(atom: int) -> slice:
    """Returns the rows of an atom; the last one ends with the matrix."""
    return slice(atom * ATOM_ROWS, (atom + 1) * ATOM_ROWS)


@dataclass(frozen=True)
class _Subtree(Generic[T]):
    """The sum over atoms `index` * 2**`level` up to (`index` + 1) * 2**`level`."""

    level: int
    index: int
    total: T


def tree_sum(work: Callable[[int], T], atoms: int, shards: Shards, add: Callable[[T, T], T]) -> T:
    """Returns the sum of `work(atom)` over all atoms, at least one; the same to the bit for any number of shards.

    A shard holds O(log atoms) sums at once.
    """
    parts = shards.map(lambda span: _grown((_Subtree(0, atom, work(atom)) for atom in span), add), atoms)
    rest = _grown((subtree for part in parts for subtree in part), add)
    return reduce(lambda right, left: add(left, right), [subtree.total for subtree in reversed(rest)])


def _grown(subtrees: Iterable[_Subtree[T]], add: Callable[[T, T], T]) -> list[_Subtree[T]]:
    """Joins neighbours to larger subtrees as long as there are two halves of one."""
    grown: list[_Subtree[T]] = []
    for subtree in subtrees:
        grown.append(subtree)
        while len(grown) > 1 and _are_halves(*grown[-2:]):
            left, right = grown.pop(-2), grown.pop()
            grown.append(_Subtree(left.level + 1, left.index // 2, add(left.total, right.total)))
    return grown


def _are_halves(left: _Subtree[T], right: _Subtree[T]) -> bool:
    return left.level == right.level and left.index % 2 == 0 and right.index == left.index + 1
