# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""Measures contenders in turns, and what the machine could do at most at that moment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch

T = TypeVar("T")

_PROBE_RUNS = 7
_PROBE_WIDTH = 1024
"""Square matrices of 4 MB in fp32: large enough for the kernels' best blocking, and 2 GFLOP a product."""
_READ_FLOATS = 32 * 2**20
"""128 MB, several times the last-level cache of two cores."""


@dataclass(frozen=True)
class Timings(Generic[T]):
    """What interleaved rounds took and returned, by contender; the first contender is ours."""

    seconds: Mapping[str, Sequence[float]]
    """One entry a round."""
    values: Mapping[str, T]
    """What the contender returned last."""

    def median_s(self, contender: str) -> float:
        """Returns the median time of a round."""
        return statistics.median(self.seconds[contender])

    def ratio(self, contender: str, over: str) -> float:
        """Returns the median, over rounds, of one contender's time divided by another's in the same round."""
        pairs = zip(self.seconds[contender], self.seconds[over], strict=True)
        return statistics.median(one / other for one, other in pairs)


def interleaved(
    contenders: Mapping[str, Callable[[], T]], *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Timings[T]:
    """Runs all contenders in turns (A B A B ...) after one round that is not counted.

    A disturbance that lasts longer than a round slows all of them, and their ratio stays.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    values: dict[str, T] = {name: contender() for name, contender in contenders.items()}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = clock()
            values[name] = contender()
            seconds[name].append(clock() - start)
    return Timings(seconds, values)


@dataclass(frozen=True)
class Limits:
    """What this process reached at most with plain kernels, just now."""

    sgemm_gflops: float
    """Square fp32 matrix product, 10^9 floating-point operations a second; the better of NumPy and torch."""
    bf16_gflops: float
    """Square bfloat16 matrix product, by torch."""
    read_gb_s: float
    """Sum of an array outside the caches, 10^9 bytes a second."""


def limits() -> Limits:
    """Probes the machine; about a second. The best of several runs: a limit is what is possible, not usual."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(_PROBE_WIDTH, _PROBE_WIDTH, generator=generator)
    array, narrow = matrix.numpy(), matrix.bfloat16()
    long = torch.ones(_READ_FLOATS)
    work = 2e-9 * _PROBE_WIDTH**3
    return Limits(
        sgemm_gflops=work / min(_best_s(lambda: matrix @ matrix), _best_s(lambda: np.matmul(array, array))),
        bf16_gflops=work / _best_s(lambda: narrow @ narrow),
        read_gb_s=4e-9 * _READ_FLOATS / _best_s(long.sum),
    )


def _best_s(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_PROBE_RUNS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
