"""The evaluation service: decode, execute, encode. No branching here; checks live in `wire`, work in the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llm_repair.evaluation import wire
from llm_repair.rpc.executions import Executions
from llm_repair.v1 import evaluation_pb2 as pb
from llm_repair.v1 import evaluation_pb2_grpc as grpc_pb


class EvaluationServicer(grpc_pb.EvaluationServiceServicer):
    """Carries out `llm_repair.v1.EvaluationService`."""

    def __init__(self, executions: Executions) -> None:
        self._executions = executions

    async def BuildPool(self, request: pb.BuildPoolRequest, context: object) -> AsyncIterator[pb.BuildPoolResponse]:
        async for event in self._executions.execute(wire.build_pool_step(request)):
            yield pb.BuildPoolResponse(event=event)

    async def SampleTexts(
        self, request: pb.SampleTextsRequest, context: object
    ) -> AsyncIterator[pb.SampleTextsResponse]:
        async for event in self._executions.execute(wire.sample_texts_step(request)):
            yield pb.SampleTextsResponse(event=event)

    async def JudgePool(self, request: pb.JudgePoolRequest, context: object) -> AsyncIterator[pb.JudgePoolResponse]:
        async for event in self._executions.execute(wire.judge_pool_step(request)):
            yield pb.JudgePoolResponse(event=event)

    async def Evaluate(self, request: pb.EvaluateRequest, context: object) -> AsyncIterator[pb.EvaluateResponse]:
        async for event in self._executions.execute(wire.evaluate_step(request)):
            yield pb.EvaluateResponse(event=event)

    async def Compare(self, request: pb.CompareRequest, context: object) -> AsyncIterator[pb.CompareResponse]:
        async for event in self._executions.execute(wire.compare_step(request)):
            yield pb.CompareResponse(event=event)

    async def Report(self, request: pb.ReportRequest, context: object) -> AsyncIterator[pb.ReportResponse]:
        async for event in self._executions.execute(wire.report_step(request)):
            yield pb.ReportResponse(event=event)

    async def Cancel(
        self,
        request: pb.EvaluationServiceCancelRequest,
        context: object,
    ) -> pb.EvaluationServiceCancelResponse:
        self._executions.cancel(request.key)
        return pb.EvaluationServiceCancelResponse()
