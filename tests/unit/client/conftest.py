"""A small coordinator in memory, served for real over gRPC: what the client and command line talk to in tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from llm_repair.v1 import artifact_pb2, artifact_pb2_grpc, coordinator_pb2_grpc, types_pb2
from llm_repair.v1 import coordinator_pb2 as pb

TOKEN = "t" * 40
TERMINAL = (pb.REPAIR_STATE_SUCCEEDED, pb.REPAIR_STATE_FAILED, pb.REPAIR_STATE_CANCELLED)


async def refuse(context, code: str, reason: str, message: str, metadata=None, violations=()) -> None:
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="llm-repair", metadata=metadata or {})]
    if violations:
        fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in violations]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)
    await context.abort_with_status(rpc_status.to_status(status))


class InMemoryCoordinator(coordinator_pb2_grpc.RepairServiceServicer, artifact_pb2_grpc.ArtifactServiceServicer):
    """Keeps repairs, events and artifacts in dictionaries; they outlive a stop of the server."""

    def __init__(self) -> None:
        self.repairs: dict[str, pb.Repair] = {}
        self.events: dict[str, list[pb.RepairEvent]] = {}
        self.metrics: dict[str, list[types_pb2.Metric]] = {}
        self.by_request_id: dict[str, tuple[bytes, str]] = {}
        self.create_requests: list[pb.CreateRepairRequest] = []
        self.watch_requests: list[pb.WatchRepairRequest] = []
        self.download_requests: list[artifact_pb2.DownloadBlobRequest] = []
        self.policies: list[pb.GatePolicy | None] = []
        self.gate = pb.GateResult(verdict=pb.VERDICT_PASS)
        self.plan = pb.RepairPlan()
        self.foreseen_steps: list[pb.Step] = []
        self.blobs: dict[str, bytes] = {}
        self.trees: dict[str, dict[str, str]] = {}
        self.unavailable_creates = 0
        self.break_downloads_after: list[int] = []
        self.damage = False
        self.port = 0
        self._server: grpc.aio.Server | None = None
        self.created: asyncio.Queue[str] = asyncio.Queue()
        self._changed = asyncio.Condition()

    # -- life of the server

    async def start(self) -> str:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        coordinator_pb2_grpc.add_RepairServiceServicer_to_server(self, self._server)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self.address

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # -- what a test makes happen

    def add_repair(self, repair_id: str = "a1", **fields: Any) -> str:
        name = f"projects/default/repairs/{repair_id}"
        self.repairs[name] = pb.Repair(name=name, state=pb.REPAIR_STATE_RUNNING, **fields)
        self.events[name] = []
        return name

    async def emit(self, name: str, **event: Any) -> None:
        async with self._changed:
            sequence = len(self.events[name]) + 1
            self.events[name].append(pb.RepairEvent(sequence=sequence, **event))
            if "state_changed" in event:
                self.repairs[name].state = event["state_changed"].state
                self.repairs[name].verdict = event["state_changed"].verdict
            self._changed.notify_all()

    async def emit_step(self, name: str, step: str, state: pb.StepState, **fields: Any) -> None:
        await self.emit(name, step_changed=pb.StepChanged(step=pb.Step(name=step, state=state, **fields)))

    async def finish(self, name: str, state: pb.RepairState = pb.REPAIR_STATE_SUCCEEDED, **fields: Any) -> None:
        if "error" in fields:
            self.repairs[name].error.CopyFrom(fields["error"])
        await self.emit(name, state_changed=pb.StateChanged(state=state, **fields))

    def put_blob(self, data: bytes) -> types_pb2.Artifact:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return types_pb2.Artifact(digest=digest, size_bytes=len(data))

    def put_tree(self, files: dict[str, bytes]) -> types_pb2.Artifact:
        return self._put_tree({path: self.put_blob(data).digest for path, data in files.items()})

    def _put_tree(self, entries: dict[str, str]) -> types_pb2.Artifact:
        digest = f"sha256:{hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()}"
        self.trees[digest] = entries
        return self._artifact(digest)

    def _artifact(self, digest: str) -> types_pb2.Artifact:
        if digest in self.trees:
            size = sum(len(self.blobs[blob]) for blob in self.trees[digest].values())
            return types_pb2.Artifact(digest=digest, size_bytes=size, is_tree=True)
        return types_pb2.Artifact(digest=digest, size_bytes=len(self.blobs[digest]))

    # -- RepairService

    async def CreateRepair(self, request, context):
        self.create_requests.append(request)
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {TOKEN}":
            await refuse(context, "UNAUTHENTICATED", "CREDENTIAL_MISSING", "The call carries no valid credential.")
        if self.unavailable_creates:
            self.unavailable_creates -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        violations = []
        if not request.spec.model.reference and request.spec.goal != pb.REPAIR_GOAL_SELECTION:
            violations.append(("model", "is required"))
        budget = request.spec.budget
        if budget.WhichOneof("limit") == "fraction" and not 0 < budget.fraction.fraction <= 1:
            violations.append(("budget.fraction.fraction", "must be in (0, 1]"))
        if violations:
            await refuse(context, "INVALID_ARGUMENT", "INVALID_FIELDS", "invalid", violations=violations)
        body = request.spec.SerializeToString(deterministic=True)
        known_body, name = self.by_request_id.get(request.request_id, (body, ""))
        if known_body != body:
            await refuse(context, "INVALID_ARGUMENT", "REQUEST_ID_REUSED", "used before", {"request_id": "x"})
        if request.validate_only:
            foreseen = pb.Repair(spec=request.spec, steps=self.foreseen_steps)
            return pb.CreateRepairResponse(repair=foreseen, plan=self.plan)
        if not name:
            name = self.add_repair(f"r{len(self.repairs) + 1}", spec=request.spec)
            self.by_request_id[request.request_id] = (body, name)
            self.created.put_nowait(name)
        return pb.CreateRepairResponse(repair=self.repairs[name])

    async def _find(self, name, context):
        if name not in self.repairs:
            await refuse(context, "NOT_FOUND", "REPAIR_NOT_FOUND", "No repair has this name.", {"name": name})
        return self.repairs[name]

    async def GetRepair(self, request, context):
        return pb.GetRepairResponse(repair=await self._find(request.name, context))

    async def ListRepairs(self, request, context):
        found = [r for r in reversed(self.repairs.values()) if not request.states or r.state in request.states]
        start = int(request.page_token or 0)
        page = found[start : start + request.page_size]
        more = str(start + request.page_size) if start + request.page_size < len(found) else ""
        return pb.ListRepairsResponse(repairs=page, next_page_token=more)

    async def CancelRepair(self, request, context):
        repair = await self._find(request.name, context)
        if repair.state != pb.REPAIR_STATE_CANCELLED:
            await self._pass_through(request.name, pb.REPAIR_STATE_CANCELLING, pb.REPAIR_STATE_CANCELLED)
        return pb.CancelRepairResponse(repair=repair)

    async def PauseRepair(self, request, context):
        repair = await self._find(request.name, context)
        if repair.state in TERMINAL:
            await refuse(context, "FAILED_PRECONDITION", "ILLEGAL_TRANSITION", "a repair that has ended cannot pause")
        await self._pass_through(request.name, pb.REPAIR_STATE_PAUSING, pb.REPAIR_STATE_PAUSED)
        return pb.PauseRepairResponse(repair=repair)

    async def ResumeRepair(self, request, context):
        repair = await self._find(request.name, context)
        await self.emit(request.name, state_changed=pb.StateChanged(state=pb.REPAIR_STATE_RUNNING))
        return pb.ResumeRepairResponse(repair=repair)

    async def _pass_through(self, name: str, first: pb.RepairState, then: pb.RepairState) -> None:
        """Brings a repair into one state now and into another a moment later."""
        await self.emit(name, state_changed=pb.StateChanged(state=first))

        async def arrive() -> None:
            await asyncio.sleep(0.1)
            await self.emit(name, state_changed=pb.StateChanged(state=then))

        self._arriving = asyncio.create_task(arrive())

    async def WatchRepair(self, request, context) -> AsyncIterator[pb.WatchRepairResponse]:
        self.watch_requests.append(request)
        await self._find(request.name, context)
        cursor = request.after_sequence
        while True:
            async with self._changed:
                while len(self.events[request.name]) <= cursor and self.repairs[request.name].state not in TERMINAL:
                    await self._changed.wait()
                fresh = self.events[request.name][cursor:]
            for event in fresh:
                yield pb.WatchRepairResponse(heartbeat=pb.WatchHeartbeat())
                yield pb.WatchRepairResponse(event=event)
                cursor = event.sequence
            if self.repairs[request.name].state in TERMINAL:
                return

    async def GetReport(self, request, context):
        repair = await self._find(request.name, context)
        if not repair.report.digest:
            await refuse(context, "FAILED_PRECONDITION", "REPORT_NOT_READY", "No report yet.", {"state": "RUNNING"})
        metrics = self.metrics.get(request.name, [])
        return pb.GetReportResponse(report=repair.report, gate=self.gate, metrics=metrics)

    async def EvaluateGate(self, request, context):
        repair = await self._find(request.name, context)
        if not repair.report.digest:
            await refuse(context, "FAILED_PRECONDITION", "REPORT_NOT_READY", "No report yet.", {"state": "RUNNING"})
        self.policies.append(request.policy if request.HasField("policy") else None)
        return pb.EvaluateGateResponse(gate=self.gate)

    # -- ArtifactService

    async def _stat(self, digest, context):
        if digest not in self.blobs and digest not in self.trees:
            await refuse(context, "NOT_FOUND", "ARTIFACT_NOT_FOUND", "No such artifact.", {"digest": digest})
        return self._artifact(digest)

    async def StatArtifact(self, request, context):
        return artifact_pb2.StatArtifactResponse(artifact=await self._stat(request.digest, context))

    async def ListTree(self, request, context):
        await self._stat(request.digest, context)
        entries = sorted(self.trees[request.digest].items())
        return artifact_pb2.ListTreeResponse(
            entries=[artifact_pb2.TreeEntry(path=path, blob=self._artifact(blob)) for path, blob in entries]
        )

    async def DownloadBlob(self, request, context) -> AsyncIterator[artifact_pb2.DownloadBlobResponse]:
        self.download_requests.append(request)
        data = self.blobs[request.digest]
        if self.damage:
            data = bytes(len(data))
        limit = self.break_downloads_after.pop(0) if self.break_downloads_after else len(data) + 1
        offset, running, sent = request.offset, hashlib.sha256(), 0
        while offset < len(data):
            if sent >= limit:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            chunk = data[offset : offset + 1000]
            running.update(chunk)
            yield artifact_pb2.DownloadBlobResponse(offset=offset, data=chunk, running_sha256=running.hexdigest())
            offset, sent = offset + len(chunk), sent + len(chunk)

    async def UploadBlob(self, request_iterator, context):
        parts, expected = [], ""
        async for request in request_iterator:
            expected = expected or request.expected_digest
            parts.append(request.data)
        artifact = self.put_blob(b"".join(parts))
        assert artifact.digest == expected
        return artifact_pb2.UploadBlobResponse(artifact=artifact)

    async def CreateTree(self, request, context):
        return artifact_pb2.CreateTreeResponse(
            artifact=self._put_tree({entry.path: entry.blob.digest for entry in request.entries})
        )


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
async def coordinator() -> AsyncIterator[InMemoryCoordinator]:
    coordinator = InMemoryCoordinator()
    await coordinator.start()
    yield coordinator
    await coordinator.stop()
