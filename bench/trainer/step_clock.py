"""A clock that runs during optimizer steps only, whoever takes them."""

from __future__ import annotations

import time
from collections.abc import Callable


class StepClock:
    """Adds up the time from the end of one step to the end of the next.

    So a step includes fetching its batch and everything the loop does around it. The first step of a run is left out:
    it allocates the optimizer's state and comes after preparations that are not compared.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._total_s = 0.0
        self._last: float | None = None

    def start_run(self) -> None:
        """Says that the next step is the first of a run."""
        self._last = None

    def end_step(self) -> None:
        """Says that a step has ended."""
        now = self._clock()
        if self._last is not None:
            self._total_s += now - self._last
        self._last = now

    def __call__(self) -> float:
        """Returns the seconds of all counted steps so far."""
        return self._total_s
