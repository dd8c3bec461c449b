"""Near duplicates: of each prompt the nearest row of a pool, over every pair of them.

Blocks of both matrices are multiplied in float32, which only tells which pairs cannot matter; those that can are
computed in float64, each by itself. So a similarity never depends on what else was compared with it.

Map: blocks of the pool are the atoms. Merge: of each prompt the nearest row of all shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.selection.atoms import atoms_of, rows_of
from llm_repair.selection.features import FloatArray
from llm_repair.selection.shards import Shards
from llm_repair.selection.threads import one_blas_thread

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_PROMPTS_AT_ONCE = 2_048
"""A block of products takes 16 MB."""
_ROUNDING = 1e-4
"""A product of two float32 vectors of length 1 is off by less: d * 2**-24 is 2.3e-5 at 384 dimensions and 9.2e-5 at
1,536 in the worst case (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1)."""
_PAIRS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Pairs:
    """Which rows of a pool and which prompts belong together."""

    pool_rows: BoolArray
    """(rows,), whether a row belongs to some prompt."""
    of_prompt: IntArray
    """(prompts,), the row that belongs to each, the most similar one, of equals the first; -1 for none."""
    similarity: Float64Array
    """(prompts,), cosine to that row."""

    @property
    def paired(self) -> IntArray:
        """Prompts that have a row, the most similar ones first."""
        there = np.flatnonzero(self.of_prompt >= 0)
        return there[np.argsort(-self.similarity[there], kind="stable")]


@dataclass(frozen=True)
class NearRows:
    """What is near in a pool."""

    pairs: Pairs
    nearest: Float32Array
    """(prompts,), cosine to the nearest row, however far and whether looked for or not."""


def near_rows(
    pool: FloatArray,
    prompts: FloatArray,
    min_similarity: float,
    *,
    wanted: BoolArray,
    shards: Shards,
    beat: Callable[[int], None],
) -> NearRows:
    """Finds the rows of a pool whose cosine to a prompt is at least `min_similarity`; O(rows prompts d).

    Args:
      pool: (rows, d), finite, possibly memory-mapped; a row of zeros is near nothing.
      prompts: (prompts, d), finite.
      min_similarity: (0, 1].
      wanted: (prompts,), those for which rows are looked for.
      shards: Any number of them gives the same result.
      beat: Given the number of rows compared so far; what it raises ends the search.
    """
    search = _Search(pool, prompts, min_similarity, wanted, beat)
    with one_blas_thread():
        parts = shards.map(search.among, atoms_of(len(pool)))
    return search.merged(parts)


@dataclass(frozen=True)
class _Part:
    """What one shard found in some rows."""

    rows: slice
    found: NearRows
    """Of these rows, which are numbered from 0."""


class _Search:
    """Looks through blocks of the pool."""

    def __init__(
        self, pool: FloatArray, prompts: FloatArray, least: float, wanted: BoolArray, beat: Callable[[int], None]
    ) -> None:
        self._pool, self._least, self._unwanted, self._beat = pool, least, ~wanted, beat
        self._prompts = _unit(prompts)
        self._rounded = self._prompts.astype(np.float32)
        self._compared = 0

    def among(self, span: range) -> _Part:
        """Looks through some atoms of the pool."""
        rows = slice(rows_of(span.start).start, min(rows_of(span.stop - 1).stop, len(self._pool)))
        found = self._nothing(rows.stop - rows.start)
        for atom in span:
            first = rows_of(atom).start - rows.start
            self._compare(self._pool[rows_of(atom)], first, found)
        return _Part(rows, found)

    def merged(self, parts: Sequence[_Part]) -> NearRows:
        """Returns what all shards found, in their order, so that of equally near rows the first one stays."""
        whole = self._nothing(len(self._pool))
        for part in parts:
            pairs, theirs = whole.pairs, part.found.pairs
            pairs.pool_rows[part.rows] = theirs.pool_rows
            better = theirs.similarity > pairs.similarity
            pairs.of_prompt[better] = theirs.of_prompt[better] + part.rows.start
            pairs.similarity[better] = theirs.similarity[better]
            np.maximum(whole.nearest, part.found.nearest, out=whole.nearest)
        return whole

    def _nothing(self, rows: int) -> NearRows:
        prompts = len(self._prompts)
        pairs = Pairs(np.zeros(rows, dtype=np.bool_), np.full(prompts, -1), np.full(prompts, -np.inf))
        return NearRows(pairs, np.full(prompts, -1, dtype=np.float32))

    def _compare(self, block: FloatArray, first: int, found: NearRows) -> None:
        rows = _unit(block)
        rounded = rows.astype(np.float32)
        for start in range(0, len(self._prompts), _PROMPTS_AT_ONCE):
            self._beat(self._compared)
            chunk = slice(start, start + _PROMPTS_AT_ONCE)
            products = rounded @ self._rounded[chunk].T
            np.maximum(found.nearest[chunk], products.max(axis=0), out=found.nearest[chunk])
            products[:, self._unwanted[chunk]] = -np.inf
            near, prompts = np.nonzero(products >= self._least - _ROUNDING)
            for some in range(0, len(near), _PAIRS_AT_ONCE):
                these = slice(some, some + _PAIRS_AT_ONCE)
                self._settle(rows, first, near[these], prompts[these] + start, found.pairs)
        self._compared += len(block)
        self._beat(self._compared)

    def _settle(self, block: Float64Array, first: int, rows: IntArray, prompts: IntArray, pairs: Pairs) -> None:
        """Computes pairs exactly; `rows` ascend, so that of equally near ones the first stays."""
        similarity = np.minimum(np.vecdot(block[rows], self._prompts[prompts]), 1.0)
        near = similarity >= self._least
        rows, prompts, similarity = rows[near] + first, prompts[near], similarity[near]
        pairs.pool_rows[rows] = True
        order = np.lexsort((rows, -similarity, prompts))
        chosen, places = np.unique(prompts[order], return_index=True)
        best = order[places]
        better = similarity[best] > pairs.similarity[chosen]
        pairs.of_prompt[chosen[better]] = rows[best[better]]
        pairs.similarity[chosen[better]] = similarity[best[better]]


def _unit(vectors: FloatArray) -> Float64Array:
    """Returns vectors of length 1; one of zeros, which has no direction, stays as it is."""
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.sqrt(np.vecdot(wide, wide))[:, None]
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
