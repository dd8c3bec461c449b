"""Tells those who watch a repair that something happened, and the progress that is not worth a row."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

from llm_repair.core.execution import Progress


class News:
    """Wakes watchers, and holds the latest progress, which is not durable."""

    def __init__(self) -> None:
        self.progress: dict[str, dict[str, Progress]] = defaultdict(dict)
        self._events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def forget(self, name: str, step: str) -> None:
        """Drops the progress of a step that runs no more."""
        self.progress[name].pop(step, None)
        if not self.progress[name]:
            del self.progress[name]

    def publish(self, name: str) -> None:
        """Says that something happened to a repair."""
        self._events.pop(name, asyncio.Event()).set()

    async def wait(self, name: str, timeout_s: float) -> None:
        """Waits until something happens to a repair, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._events[name].wait()
