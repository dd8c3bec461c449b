"""Seconds by part of a step, for its summary and the bill."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from llm_repair.core.execution import Json


class Stopwatch:
    """Adds up wall seconds under names."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """Counts the time inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self.seconds(name) + time.perf_counter() - start

    def seconds(self, name: str) -> float:
        """Returns the seconds counted to `name` so far."""
        return self._seconds.get(name, 0.0)

    def to_json(self) -> dict[str, Json]:
        """Returns all parts, rounded to milliseconds."""
        return {name: round(seconds, 3) for name, seconds in self._seconds.items()}
