"""Asks a server whether it is ready, by the standard health protocol."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false
# grpcio-health-checking has no types for its stubs.

from __future__ import annotations

from typing import Final

from grpc import aio

from llm_repair.cli.exits import EmbeddedError

_DEADLINE_S: Final = 2.0


async def is_serving(address: str, service: str) -> bool:
    """Whether the server at `host:port` says that a service can work: its store is reachable, its workers able.

    Args:
      address: Where the server listens.
      service: Full name, such as `llm_repair.v1.TrainerService`.

    Raises:
      EmbeddedError: the health stubs are not installed.
    """
    try:
        from grpc_health.v1 import health_pb2, health_pb2_grpc
    except ImportError as error:
        raise EmbeddedError("grpcio-health-checking is missing: install llm-repair[service]") from error
    async with aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            response = await check(health_pb2.HealthCheckRequest(service=service), timeout=_DEADLINE_S)
        except aio.AioRpcError:
            return False
        return response.status == health_pb2.HealthCheckResponse.SERVING
