"""`selection.random`: the ranking by seeded hashes of ids, against sorting random numbers.

The latter depends on the order of the pool. The limit is to read the bytes of the ids once. `value_agrees`: every row
occurs once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import SEED, Size
from llm_repair.core.allocation import IntArray
from llm_repair.core.selection import RandomStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.random import RandomSelection

QUICK = (Size(2_000, 50, 3),)
FULL = (Size(1_000_000, 100_000, 9),)


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        yield from _side_by_side(Features([f"sample-{row:07d}" for row in range(size.n)]), size)


def _side_by_side(features: Features, size: Size) -> Iterator[Line]:
    strategy = RandomSelection(RandomStrategy())

    def reading() -> IntArray:
        np.frombuffer("".join(features.ids).encode(), dtype=np.uint8).sum()
        return np.empty(0, dtype=np.int64)

    contenders: dict[str, Callable[[], IntArray]] = {
        "ours": lambda: strategy.rank(features, seed=SEED, places=size.picks).rows,
        "argsort of random numbers": lambda: np.random.default_rng(SEED).random(size.n).argsort(),
        "reading the ids (limit)": reading,
    }
    timings = interleaved(contenders, rounds=size.rounds)
    complete = np.array_equal(np.sort(timings.values["ours"]), np.arange(size.n))
    yield from lines_of(
        timings,
        "selection.random",
        str(size),
        agrees={"ours": complete},
        limit="reading the ids (limit)",
        other_work=("argsort of random numbers",),
    )


if __name__ == "__main__":
    area.main(__doc__, lines)
