"""Seeded hashes: random choices that depend on what is chosen and never on where it stood."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def derived_seed(seed: int, purpose: str) -> int:
    """Returns the seed, [0, 2**31), of one random choice of a job.

    Two purposes of one job never share a stream, and a new purpose does not disturb the others.
    """
    return int.from_bytes(_digest(seed, purpose, ""), "big") >> 33


def order_by_hash(names: Sequence[str], seed: int, purpose: str) -> list[int]:
    """Returns the positions of `names` by their seeded hash, smallest first, ties by name: a random permutation.

    The order of two names does not depend on which others are there or in what order they are given.
    """
    return sorted(range(len(names)), key=lambda position: (_digest(seed, purpose, names[position]), names[position]))


def _digest(seed: int, purpose: str, name: str) -> bytes:
    # A NUL cannot be part of the decimal seed or of a purpose, so no two inputs run together.
    text = f"{seed}\0{purpose}\0{name}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:8]
