"""The selection service: decode, execute, encode. No branching here; checks live in `wire`, work in the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llm_repair.rpc.executions import Executions
from llm_repair.selection import wire
from llm_repair.v1 import selection_pb2 as pb
from llm_repair.v1 import selection_pb2_grpc as grpc_pb


class SelectionServicer(grpc_pb.SelectionServiceServicer):
    """Carries out `llm_repair.v1.SelectionService`."""

    def __init__(self, executions: Executions) -> None:
        self._executions = executions

    async def ImportDataset(
        self, request: pb.ImportDatasetRequest, context: object
    ) -> AsyncIterator[pb.ImportDatasetResponse]:
        async for event in self._executions.execute(wire.import_dataset_step(request)):
            yield pb.ImportDatasetResponse(event=event)

    async def Embed(self, request: pb.EmbedRequest, context: object) -> AsyncIterator[pb.EmbedResponse]:
        async for event in self._executions.execute(wire.embed_step(request)):
            yield pb.EmbedResponse(event=event)

    async def Score(self, request: pb.ScoreRequest, context: object) -> AsyncIterator[pb.ScoreResponse]:
        async for event in self._executions.execute(wire.score_step(request)):
            yield pb.ScoreResponse(event=event)

    async def Select(self, request: pb.SelectRequest, context: object) -> AsyncIterator[pb.SelectResponse]:
        async for event in self._executions.execute(wire.select_step(request)):
            yield pb.SelectResponse(event=event)

    async def Overlap(self, request: pb.OverlapRequest, context: object) -> AsyncIterator[pb.OverlapResponse]:
        async for event in self._executions.execute(wire.overlap_step(request)):
            yield pb.OverlapResponse(event=event)

    async def Cancel(
        self,
        request: pb.SelectionServiceCancelRequest,
        context: object,
    ) -> pb.SelectionServiceCancelResponse:
        self._executions.cancel(request.key)
        return pb.SelectionServiceCancelResponse()
