"""The coordinator's service: decode, ask the job store or the reconciler, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llm_repair.coordinator import wire
from llm_repair.coordinator.repair_book import RepairBook
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import coordinator_pb2_grpc as grpc_pb


class RepairServicer(grpc_pb.RepairServiceServicer):
    """Carries out `llm_repair.v1.RepairService`."""

    def __init__(self, book: RepairBook) -> None:
        self._book = book

    async def CreateRepair(self, request: pb.CreateRepairRequest, context: object) -> pb.CreateRepairResponse:
        project, digest = wire.project_of(request.parent), wire.body_digest(request)
        if earlier := await self._book.find(project, request.request_id, digest):
            return pb.CreateRepairResponse(repair=wire.repair(earlier))
        if request.validate_only:
            foreseen, forecast = await self._book.foresee(wire.repair_spec(request))
            return pb.CreateRepairResponse(repair=wire.repair(foreseen), plan=wire.repair_plan(forecast))
        record = await self._book.prepare(project, wire.repair_spec(request))
        record = await self._book.accept(record, request.request_id, digest)
        return pb.CreateRepairResponse(repair=wire.repair(record))

    async def GetRepair(self, request: pb.GetRepairRequest, context: object) -> pb.GetRepairResponse:
        record = await self._book.get(request.name)
        return pb.GetRepairResponse(repair=wire.repair(record, self._book.progress(request.name)))

    async def ListRepairs(self, request: pb.ListRepairsRequest, context: object) -> pb.ListRepairsResponse:
        project, size = wire.project_of(request.parent), wire.page_size(request)
        page = await self._book.list(project, size, request.page_token, wire.states_of(request))
        repairs = [wire.repair(record) for record in page.repairs]
        return pb.ListRepairsResponse(repairs=repairs, next_page_token=page.next_token)

    async def CancelRepair(self, request: pb.CancelRepairRequest, context: object) -> pb.CancelRepairResponse:
        return pb.CancelRepairResponse(repair=wire.repair(await self._book.cancel(request.name)))

    async def PauseRepair(self, request: pb.PauseRepairRequest, context: object) -> pb.PauseRepairResponse:
        return pb.PauseRepairResponse(repair=wire.repair(await self._book.pause(request.name)))

    async def ResumeRepair(self, request: pb.ResumeRepairRequest, context: object) -> pb.ResumeRepairResponse:
        return pb.ResumeRepairResponse(repair=wire.repair(await self._book.resume(request.name)))

    async def DeleteRepair(self, request: pb.DeleteRepairRequest, context: object) -> pb.DeleteRepairResponse:
        await self._book.delete(request.name)
        return pb.DeleteRepairResponse()

    async def WatchRepair(
        self, request: pb.WatchRepairRequest, context: object
    ) -> AsyncIterator[pb.WatchRepairResponse]:
        async for update in self._book.watch(request.name, request.after_sequence):
            yield wire.watch_update(update)

    async def GetReport(self, request: pb.GetReportRequest, context: object) -> pb.GetReportResponse:
        report = await self._book.report(request.name)
        return pb.GetReportResponse(
            report=wire.artifact(report.artifact), gate=wire.gate(report.gate), metrics=wire.metrics(report.metrics)
        )

    async def EvaluateGate(self, request: pb.EvaluateGateRequest, context: object) -> pb.EvaluateGateResponse:
        policy = wire.gate_policy(request.policy)
        return pb.EvaluateGateResponse(gate=wire.gate(await self._book.evaluate_gate(request.name, policy)))
