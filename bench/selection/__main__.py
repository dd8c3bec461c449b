"""Selection strategies as `Select` calls them, against what one would write without us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.selection import ccs, clustering, embedding, gradients, k_center, random, saps

CASES: Final = (k_center, saps, clustering, ccs, random, embedding, gradients)


def run(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all cases."""
    for case in CASES:
        yield from case.lines(quick, limits)


if __name__ == "__main__":
    area.main(__doc__, run)
