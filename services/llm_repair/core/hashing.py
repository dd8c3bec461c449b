"""Seeded hashes: random choices that depend on what is chosen and never on where it stood."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
WordArray: TypeAlias = npt.NDArray[np.uint64]

_BLOCK_NAMES: Final = 16_384
"""So many names at once: their words stay in the second-level cache."""
_WORD_BYTES: Final = 8
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FACTORS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def derived_seed(seed: int, purpose: str) -> int:
    """Returns the seed, [0, 2**31), of one random choice of a job.

    Two purposes of one job never share a stream, and a new purpose does not disturb the others.
    """
    return _key(seed, purpose) >> 33


def order_by_hash(names: Sequence[str], seed: int, purpose: str) -> IntArray:
    """Returns the positions of `names`, (n,), by their seeded hash, smallest first, ties by name.

    A random permutation in which the order of two names does not depend on which others are there or in what order
    they are given. O(n).
    """
    hashes = seeded_hashes(names, seed, purpose)
    order = order_of_hashes(hashes)
    ranked = hashes[order]
    tied = np.unique(ranked[1:][ranked[1:] == ranked[:-1]])
    starts, ends = np.searchsorted(ranked, tied), np.searchsorted(ranked, tied, side="right")
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        order[start:end] = sorted(order[start:end].tolist(), key=names.__getitem__)
    return order


def seeded_hashes(names: Sequence[str], seed: int, purpose: str) -> npt.NDArray[np.uint32]:
    """Returns a hash of each name, (n,), uniform over [0, 2**32) and the same on every platform.

    A name's bytes, eight at a time, go through the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), which
    is a bijection whose every output bit depends on every input bit. Against someone who makes up ids it is no
    defence, but neither is sha256 where the seed is known, and that takes thirty times as long for a million ids.
    """
    key = np.uint64(_key(seed, purpose))
    hashes = np.empty(len(names), dtype=np.uint32)
    for start in range(0, len(names), _BLOCK_NAMES):
        block = names[start : start + _BLOCK_NAMES]
        hashes[start : start + len(block)] = _hashed(block, key) >> np.uint64(32)
    return hashes


def order_of_hashes(hashes: npt.NDArray[np.uint32]) -> IntArray:
    """Returns the positions of hashes, (n,), the smallest first, equal ones in their order; O(n)."""
    # By digits of 16 bits from the low end: for integers of that size NumPy's stable sort is a radix sort, and two of
    # them are three times as fast as one argsort of the whole.
    order = np.argsort((hashes & 0xFFFF).astype(np.uint16), kind="stable")
    return order[np.argsort((hashes >> 16).astype(np.uint16)[order], kind="stable")]


def _hashed(names: Sequence[str], key: np.uint64) -> WordArray:
    words, lengths = _words_of(names)
    # The length is part of the state, so that "a" and "a\0" differ.
    state = _mixed(lengths.astype(np.uint64) * _STEP ^ key)
    for place, column in enumerate(words.T):
        state = np.where(lengths > place * _WORD_BYTES, _mixed((state ^ column) + _STEP), state)
    return state


def _words_of(names: Sequence[str]) -> tuple[WordArray, IntArray]:
    """Returns the UTF-8 of each name as words of eight bytes, zeros behind it, (n, words), and its bytes, (n,)."""
    lengths = _lengths_of(names)
    data = np.frombuffer("".join(names).encode("utf-8", "surrogatepass"), dtype=np.uint8)
    longest = int(lengths.max())
    grid = np.zeros((len(names), -(-longest // _WORD_BYTES) * _WORD_BYTES), dtype=np.uint8)
    if longest == lengths.min():
        grid[:, :longest] = data.reshape(len(names), longest)
    else:
        grid[np.arange(grid.shape[1]) < lengths[:, None]] = data
    return grid.view("<u8"), lengths


def _lengths_of(names: Sequence[str]) -> IntArray:
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == 0)
    if len(ends) == len(names) - 1:
        return np.diff(ends, prepend=-1, append=len(text)) - 1
    return np.array([len(name.encode("utf-8", "surrogatepass")) for name in names])  # one holds a NUL


def _mixed(words: WordArray) -> WordArray:
    words ^= words >> np.uint64(30)
    words *= _FACTORS[0]
    words ^= words >> np.uint64(27)
    words *= _FACTORS[1]
    words ^= words >> np.uint64(31)
    return words


def _key(seed: int, purpose: str) -> int:
    # A NUL cannot be part of the decimal seed or of a purpose, so no two inputs run together.
    text = f"{seed}\0{purpose}\0".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
