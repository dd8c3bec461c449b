"""The trainer service: decode, execute, encode. No branching here; checks live in `wire`, work in the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llm_repair.rpc.executions import Executions
from llm_repair.trainer import wire
from llm_repair.v1 import trainer_pb2 as pb
from llm_repair.v1 import trainer_pb2_grpc as grpc_pb


class TrainerServicer(grpc_pb.TrainerServiceServicer):
    """Carries out `llm_repair.v1.TrainerService`."""

    def __init__(self, executions: Executions) -> None:
        self._executions = executions

    async def ImportModel(
        self, request: pb.ImportModelRequest, context: object
    ) -> AsyncIterator[pb.ImportModelResponse]:
        async for event in self._executions.execute(wire.import_model_step(request)):
            yield pb.ImportModelResponse(event=event)

    async def Repair(self, request: pb.RepairRequest, context: object) -> AsyncIterator[pb.RepairResponse]:
        async for event in self._executions.execute(wire.repair_step(request)):
            yield pb.RepairResponse(event=event)

    async def Publish(self, request: pb.PublishRequest, context: object) -> AsyncIterator[pb.PublishResponse]:
        async for event in self._executions.execute(wire.publish_step(request)):
            yield pb.PublishResponse(event=event)

    async def Cancel(
        self,
        request: pb.TrainerServiceCancelRequest,
        context: object,
    ) -> pb.TrainerServiceCancelResponse:
        self._executions.cancel(request.key)
        return pb.TrainerServiceCancelResponse()
