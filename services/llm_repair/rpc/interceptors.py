"""The three interceptors of every server: who calls, how it went, and how errors leave.

Order matters: telemetry is outermost, so that refused calls are counted; errors come next, so that a refusal
of the credential is mapped like any other error; authentication is innermost.
"""

from __future__ import annotations

import abc
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

from llm_repair.core.errors import CredentialMissing, RepairError
from llm_repair.rpc.errors import internal_status, new_error_id, status_of

_log = logging.getLogger(__name__)

Behaviour = Callable[[Any, Any], Any]
# Health and reflection carry no data of ours, and Kubernetes probes cannot present a credential.
_OPEN_PREFIXES = ("/grpc.health.v1.Health/", "/grpc.reflection.")


class _Around(grpc.aio.ServerInterceptor):
    """Wraps the behaviour of a method, whatever its kind."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        metadata = {item[0]: item[1] for item in handler_call_details.invocation_metadata or ()}
        make = {
            (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary, self._unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream, self._stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary, self._unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream, self._stream),
        }
        build, behaviour, wrap = make[handler.request_streaming, handler.response_streaming]
        return build(
            wrap(behaviour, method, metadata),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @abc.abstractmethod
    def _unary(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour: ...

    @abc.abstractmethod
    def _stream(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour: ...


class ErrorInterceptor(_Around):
    """Maps domain errors to statuses; anything else becomes INTERNAL, with its details in the log only."""

    def _unary(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour:
        async def call(request: Any, context: Any) -> Any:
            try:
                return await behaviour(request, context)
            except RepairError as error:
                await context.abort_with_status(status_of(error))
            except grpc.aio.AbortError:
                raise
            except Exception:  # noqa: BLE001 - the one place where a defect is turned into a status
                await context.abort_with_status(internal_status(_logged(method)))

        return call

    def _stream(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async for response in behaviour(request, context):
                    yield response
            except RepairError as error:
                await context.abort_with_status(status_of(error))
            except grpc.aio.AbortError:
                raise
            except Exception:  # noqa: BLE001 - the one place where a defect is turned into a status
                await context.abort_with_status(internal_status(_logged(method)))

        return call


class TokenInterceptor(_Around):
    """Lets a call pass only with the bearer token; health and reflection are open. Denies by default."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}"

    def _check(self, method: str, metadata: dict[str, Any]) -> None:
        if method.startswith(_OPEN_PREFIXES):
            return
        given = str(metadata.get("authorization", ""))
        if not hmac.compare_digest(given.encode(), self._expected.encode()):
            raise CredentialMissing

    def _unary(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour:
        async def call(request: Any, context: Any) -> Any:
            self._check(method, metadata)
            return await behaviour(request, context)

        return call

    def _stream(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            self._check(method, metadata)
            async for response in behaviour(request, context):
                yield response

        return call


class TelemetryInterceptor(_Around):
    """Counts and times every call, and writes one log line each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "llm_repair_rpc_calls",
            "Calls that ended, by method and status code.",
            ["method", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "llm_repair_rpc_seconds",
            "Duration of a call in seconds.",
            ["method"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800),
            registry=registry,
        )

    def _ended(self, method: str, context: Any, started: float, *, failed: bool) -> None:
        seconds = time.monotonic() - started
        code = context.code() or (grpc.StatusCode.UNKNOWN if failed else grpc.StatusCode.OK)
        name = grpc.StatusCode(code).name if isinstance(code, grpc.StatusCode) else str(code)
        self._calls.labels(method, name).inc()
        self._seconds.labels(method).observe(seconds)
        if not method.startswith(_OPEN_PREFIXES):
            _log.info("call ended", extra={"fields": {"method": method, "code": name, "seconds": round(seconds, 3)}})

    def _unary(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour:
        async def call(request: Any, context: Any) -> Any:
            started, failed = time.monotonic(), True
            try:
                response = await behaviour(request, context)
                failed = False
                return response
            finally:
                self._ended(method, context, started, failed=failed)

        return call

    def _stream(self, behaviour: Behaviour, method: str, metadata: dict[str, Any]) -> Behaviour:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            started, failed = time.monotonic(), True
            try:
                async for response in behaviour(request, context):
                    yield response
                failed = False
            finally:
                self._ended(method, context, started, failed=failed)

        return call


def _logged(method: str) -> str:
    error_id = new_error_id()
    _log.exception("call failed by a defect", extra={"fields": {"method": method, "error_id": error_id}})
    return error_id
