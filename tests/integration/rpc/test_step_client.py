"""The client of the step services: what a caller sees of a service that hangs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from llm_repair.core.steps import ReportStep
from llm_repair.rpc import step_client
from llm_repair.rpc.step_client import ServiceUnreachable, Started, StepClient
from llm_repair.v1 import evaluation_pb2, evaluation_pb2_grpc, execution_pb2


class Hanging(evaluation_pb2_grpc.EvaluationServiceServicer):
    """Starts and then says nothing any more."""

    async def Report(self, request: Any, context: Any) -> AsyncIterator[evaluation_pb2.ReportResponse]:
        started = execution_pb2.ExecutionStarted(attempt="one")
        yield evaluation_pb2.ReportResponse(event=execution_pb2.ExecutionEvent(key="key", started=started))
        await asyncio.sleep(600)


async def test_a_service_that_falls_silent_counts_as_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_client, "_SILENCE_S", 0.5)
    server = grpc.aio.server()
    evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(Hanging(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = StepClient({"evaluation": f"127.0.0.1:{port}"}, "")
    seen: list[object] = []

    async with asyncio.timeout(10):
        with pytest.raises(ServiceUnreachable):
            async for event in client.execute(ReportStep("sha256:dossier")):
                seen.append(event)

    assert seen == [Started("one")]
    await client.close()
    await server.stop(0)
