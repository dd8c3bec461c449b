"""Builds and runs the server of a service: interceptors, health, reflection, metrics, graceful stop."""

# grpc_health and grpc_reflection publish no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import prometheus_client
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from llm_repair.rpc.configuration import ListenSettings, ServiceSettings
from llm_repair.rpc.interceptors import ErrorInterceptor, TelemetryInterceptor, TokenInterceptor

_log = logging.getLogger(__name__)

MAX_RECEIVE_BYTES: Final = 8 << 20
KEEPALIVE_OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Without these a server drops clients that ping an idle watch more often than every five minutes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]

Register = Callable[[grpc.aio.Server], None]


async def serve(
    settings: ServiceSettings,
    registry: CollectorRegistry,
    services: Sequence[tuple[str, Register]],
    *,
    ready: Callable[[], Awaitable[bool]],
    close: Callable[[], Awaitable[None]],
) -> None:
    """Runs a server until SIGTERM or SIGINT, then drains it.

    Args:
      settings: Where to listen and which token to ask for.
      registry: Metrics shown at `/metrics`.
      services: Full name and registering function of each gRPC service.
      ready: Asked every few seconds; its answer is the health of the services by name. The empty name is liveness.
      close: Ends what the service runs, after the last call.
    """
    stop = _stop_signal()
    health_servicer = health.aio.HealthServicer()
    server = grpc.aio.server(options=KEEPALIVE_OPTIONS, interceptors=_interceptors(settings.token, registry))
    for _, register in services:
        register(server)
    names = [name for name, _ in services]
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if settings.listen.reflection:
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME, health.SERVICE_NAME], server)
    _bind(server, settings.listen.listen)
    probes = _probe_server(settings.listen, health_servicer)
    _serve_metrics(settings.listen.metrics_listen, registry)
    await server.start()
    if probes:
        await probes.start()
    await health_servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    _log.info("service started", extra={"fields": {"service": settings.name, "listen": settings.listen.listen}})

    watching = asyncio.create_task(_watch_readiness(health_servicer, names, ready))
    await stop.wait()
    watching.cancel()
    await health_servicer.enter_graceful_shutdown()
    await server.stop(settings.listen.drain_s)
    if probes:
        await probes.stop(0)
    await close()
    _log.info("service stopped", extra={"fields": {"service": settings.name}})


def configure_logging(service: str) -> None:
    """Sends logs to standard error, one JSON object a line; called by `__main__` only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(service))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _interceptors(token: str, registry: CollectorRegistry) -> list[grpc.aio.ServerInterceptor]:
    inner = [TokenInterceptor(token)] if token else []
    return [TelemetryInterceptor(registry), ErrorInterceptor(), *inner]


def _bind(server: grpc.aio.Server, listen: str) -> None:
    if server.add_insecure_port(listen) == 0:
        sys.exit(f"cannot listen on {listen}: the address is in use")


def _probe_server(settings: ListenSettings, servicer: Any) -> grpc.aio.Server | None:
    if not settings.health_listen:
        return None
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    _bind(server, settings.health_listen)
    return server


def _serve_metrics(listen: str, registry: CollectorRegistry) -> None:
    if listen:
        host, _, port = listen.rpartition(":")
        prometheus_client.start_http_server(int(port), addr=host, registry=registry)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop


async def _watch_readiness(servicer: Any, names: Sequence[str], ready: Callable[[], Awaitable[bool]]) -> None:
    response = health_pb2.HealthCheckResponse
    while True:
        try:
            is_ready = await ready()
        except Exception:  # noqa: BLE001 - whatever could not be asked is not ready, and is asked again
            _log.exception("readiness could not be found out")
            is_ready = False
        state = response.SERVING if is_ready else response.NOT_SERVING
        for name in names:
            await servicer.set(name, state)
        await asyncio.sleep(5)
