"""Readiness is watched for as long as the service lives."""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2

from llm_repair.rpc import server

STATES = health_pb2.HealthCheckResponse


class Recording:
    """A health service that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    async def set(self, name: str, state: Any) -> None:
        self.told.append((name, state))


async def test_a_readiness_that_cannot_be_found_out_is_not_ready_and_asked_again() -> None:
    asked = asyncio.Event()

    async def ready() -> bool:
        asked.set()
        raise OSError("the disk is gone")

    health = Recording()
    watching = asyncio.create_task(server._watch_readiness(health, ["service"], ready))
    await asked.wait()
    await asyncio.sleep(0.05)

    assert not watching.done()
    assert health.told == [("service", STATES.NOT_SERVING)]
    watching.cancel()
