"""Measuring a model as the evaluation step does it, against what others would use for its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import area
from bench.evaluation import generation, overlap, perplexity, toxicity, vllm
from bench.lines import Line
from bench.measure import Limits

CASES: Final = (generation, toxicity, perplexity, overlap, vllm)


def run(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all cases."""
    for case in CASES:
        yield from case.lines(quick, limits)


if __name__ == "__main__":
    area.main(__doc__, run)
