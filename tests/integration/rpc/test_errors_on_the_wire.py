"""Every domain error crosses a real connection whole; a defect tells nothing but an id; strangers are refused."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from prometheus_client import CollectorRegistry, generate_latest

from llm_repair.core.errors import DatasetInvalid, FieldViolation, InvalidFields, RepairError, leaves
from llm_repair.rpc.errors import error_of
from llm_repair.rpc.interceptors import ErrorInterceptor, TelemetryInterceptor, TokenInterceptor

TOKEN = "t" * 40
CREDENTIAL = (("authorization", f"Bearer {TOKEN}"),)


class Failing:
    """A service of one unary and one streaming method that fail as they are told."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def unary(self, request: bytes, context: Any) -> bytes:
        if self.failure:
            raise self.failure
        return b"fine"

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        if self.failure:
            raise self.failure


@pytest.fixture
def failing() -> Failing:
    return Failing()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def channel(failing: Failing, registry: CollectorRegistry) -> AsyncIterator[grpc.aio.Channel]:
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(failing.unary),
        "Stream": grpc.unary_stream_rpc_method_handler(failing.stream),
    }
    server = grpc.aio.server(interceptors=[TelemetryInterceptor(registry), ErrorInterceptor(), TokenInterceptor(TOKEN)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Failing", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made
    await server.stop(0)


async def call(channel: grpc.aio.Channel, metadata: Any = CREDENTIAL) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Failing/Unary")(b"", metadata=metadata)
    return caught.value


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
async def test_every_error_reaches_the_caller_with_its_code_reason_and_metadata(
    leaf: type[RepairError], failing: Failing, channel: grpc.aio.Channel
) -> None:
    is_bad_request = issubclass(leaf, InvalidFields)
    failing.failure = leaf([FieldViolation("budget", "is required")]) if is_bad_request else leaf(row="7")  # type: ignore[arg-type]

    error = await call(channel)
    back = error_of(error)

    assert error.code().value[0] == code_pb2.Code.Value(leaf.code.value)
    assert back is not None
    assert back.reason == leaf.reason or type(back) is RepairError
    if is_bad_request:
        assert isinstance(back, InvalidFields)
        assert back.violations == (FieldViolation("budget", "is required"),)
    else:
        assert back.metadata == {"row": "7"}


async def test_an_error_in_the_middle_of_a_stream_keeps_what_came_before(
    failing: Failing, channel: grpc.aio.Channel
) -> None:
    failing.failure = InvalidFields([FieldViolation("x", "is bad")])
    received: list[bytes] = []

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in channel.unary_stream("/test.Failing/Stream")(b"", metadata=CREDENTIAL):
            received.append(message)

    assert received == [b"first"]
    assert isinstance(error_of(caught.value), InvalidFields)


@pytest.mark.parametrize(
    "failure",
    [
        InvalidFields([FieldViolation(f"evaluation.corpora[{index}].texts", "x" * 300) for index in range(100)]),
        DatasetInvalid("\u00e9" * 5000, rows="row-17, " * 5000),
    ],
    ids=["many violations", "a long message"],
)
async def test_an_error_too_long_for_a_trailer_is_cut_and_not_lost(
    failure: RepairError, failing: Failing, channel: grpc.aio.Channel
) -> None:
    failing.failure = failure

    back = error_of(await call(channel))

    assert type(back) is type(failure)
    if isinstance(back, InvalidFields):
        assert back.violations[0] == FieldViolation("evaluation.corpora[0].texts", "x" * 200)
    else:
        assert back.metadata["rows"].startswith("row-17")


async def test_a_defect_is_internal_and_says_nothing_of_what_it_held(
    failing: Failing, channel: grpc.aio.Channel
) -> None:
    failing.failure = ValueError("the text of a pool row")

    error = await call(channel)

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "pool row" not in str(error)
    back = error_of(error)
    assert back is not None
    assert set(back.metadata) == {"error_id"}


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", TOKEN),)])
async def test_a_call_without_the_token_is_unauthenticated(metadata: Any, channel: grpc.aio.Channel) -> None:
    error = await call(channel, metadata)

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_calls_are_counted_by_method_and_code(
    failing: Failing, channel: grpc.aio.Channel, registry: CollectorRegistry
) -> None:
    await channel.unary_unary("/test.Failing/Unary")(b"", metadata=CREDENTIAL)
    failing.failure = InvalidFields([FieldViolation("x", "is bad")])
    await call(channel)

    metrics = generate_latest(registry).decode()

    assert 'llm_repair_rpc_calls_total{code="OK",method="/test.Failing/Unary"} 1.0' in metrics
    assert 'llm_repair_rpc_calls_total{code="INVALID_ARGUMENT",method="/test.Failing/Unary"} 1.0' in metrics
