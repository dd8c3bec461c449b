"""Training as the repair step does it, against TRL: steps, what surrounds them, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.trainer import dpo, gpu, lora, memory, overhead, ranks, sft, stop

CASES: Final = (sft, lora, dpo, ranks, overhead, stop, memory, gpu)


def run(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all cases."""
    for case in CASES:
        yield from case.lines(quick, limits)


if __name__ == "__main__":
    area.main(__doc__, run)
