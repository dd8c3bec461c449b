"""The channel to a coordinator: credentials, keepalive, deadlines, and the one retry policy."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from grpc import aio

from llm_repair.client._errors import error_from_call
from llm_repair.v1.artifact_pb2_grpc import ArtifactServiceStub
from llm_repair.v1.coordinator_pb2_grpc import RepairServiceStub

if TYPE_CHECKING:  # The generated code has these classes in its type stubs only.
    from llm_repair.v1.artifact_pb2_grpc import ArtifactServiceAsyncStub
    from llm_repair.v1.coordinator_pb2_grpc import RepairServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")
Metadata = tuple[tuple[str, str], ...]

DEADLINE_S: Final = 30.0
CREATE_DEADLINE_S: Final = 300.0
"""CreateRepair resolves every reference to a digest, which may read whole model folders."""
RETRY_WINDOW_S: Final = 20.0
"""How long a unary call goes on trying while the server is unreachable; a restart takes a few seconds."""
FIRST_DELAY_S: Final = 0.2
LARGEST_DELAY_S: Final = 5.0

_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    # A watch may be quiet for long; without pings a dead peer or a forgetful NAT gateway would go unnoticed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own pause between connection attempts grows to two minutes, which would outlast our backoff.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 16 << 20),
)


class Transport:
    """A channel with its stubs and the metadata of every call."""

    def __init__(self, address: str, *, token: str | None, root_certificates: bytes | None, plaintext: bool) -> None:
        """Opens nothing yet: the first call connects. Must be made on the event loop that uses it."""
        is_clear = root_certificates is None and (plaintext or token is None or is_loopback(address))
        self._channel = _clear_channel(address) if is_clear else _secure_channel(address, root_certificates)
        self.address = address
        self.metadata: Metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.repairs: RepairServiceAsyncStub = RepairServiceStub(self._channel)
        self.artifacts: ArtifactServiceAsyncStub = ArtifactServiceStub(self._channel)

    async def close(self) -> None:
        """Ends all calls and the connection."""
        await self._channel.close()

    async def unary(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> Response:
        """Makes a unary call; every call made through here is safe to repeat.

        Raises:
          RepairClientError: The leaf for the status code; UNAVAILABLE only after the retry window.
        """

        async def call() -> Response:
            return await method(request, timeout=deadline_s, metadata=self.metadata)

        return await retrying(call)


async def retrying(call: Callable[[], Awaitable[Response]]) -> Response:
    """Awaits a call, again and again while it is UNAVAILABLE and the retry window is open."""
    give_up_at = time.monotonic() + RETRY_WINDOW_S
    for delay_s in delays():
        try:
            return await call()
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() + delay_s > give_up_at:
                raise error_from_call(error) from error
        await asyncio.sleep(delay_s)
    raise AssertionError("delays never end")


def delays() -> Iterator[float]:
    """Yields endless pauses in seconds: doubling up to a limit, each between half and the whole of its step."""
    # Jitter keeps many waiting clients from returning in one wave; it decides no result, so it takes no seed.
    jitter = random.SystemRandom()
    step_s = FIRST_DELAY_S
    while True:
        yield step_s * jitter.uniform(0.5, 1.0)
        step_s = min(2 * step_s, LARGEST_DELAY_S)


def _clear_channel(address: str) -> aio.Channel:
    return aio.insecure_channel(address, options=_OPTIONS)


def _secure_channel(address: str, root_certificates: bytes | None) -> aio.Channel:
    return aio.secure_channel(address, grpc.ssl_channel_credentials(root_certificates), options=_OPTIONS)


def is_loopback(address: str) -> bool:
    """Whether an address stays on this machine."""
    host = address.rpartition(":")[0].strip("[]")
    return address.startswith("unix:") or host in ("localhost", "::1") or host.startswith("127.")
