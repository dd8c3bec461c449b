"""What a user can do with repairs: accept, look up, watch, pause, cancel, read the report, ask the gate."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.coordinator.dossier import DossierWriter
from llm_repair.coordinator.forecast import FindResult, Forecast, forecast, present_results
from llm_repair.coordinator.jobs import JobStore, Page
from llm_repair.coordinator.plan import plan
from llm_repair.coordinator.reconcile import Reconciler
from llm_repair.coordinator.records import Heartbeat, RepairRecord, StepProgress, StepRecord, Update
from llm_repair.coordinator.resolving import ResolvedSpec, resolve
from llm_repair.core.errors import ReportNotReady, RequestIdReused
from llm_repair.core.execution import Artifact, Progress
from llm_repair.core.gate import GateResult
from llm_repair.core.metrics import Metric
from llm_repair.core.policy import GatePolicy
from llm_repair.core.repair import Precision
from llm_repair.core.repairs import RepairGoal, RepairSpec, RepairState

_HEARTBEAT_S: Final = 15.0
_PROGRESS_EVERY_S: Final = 1.0


@dataclass(frozen=True)
class RepairReport:
    """The report of a repair."""

    artifact: Artifact
    gate: GateResult | None
    """None where one model was measured alone and the request names no criteria."""
    metrics: Sequence[Metric]


class RepairBook:
    """All repairs, for those who ask."""

    def __init__(
        self,
        jobs: JobStore,
        resolver: ReferenceResolver,
        reconciler: Reconciler,
        dossiers: DossierWriter,
        find_result: FindResult,
        *,
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        """precision: of a training whose request names none."""
        self._jobs = jobs
        self._resolver = resolver
        self._reconciler = reconciler
        self._dossiers = dossiers
        self._find_result = find_result
        self._precision = precision

    async def find(self, project: str, request_id: str, digest: str) -> RepairRecord | None:
        """Returns the repair an earlier, equal request made; asked first, so that it need not resolve again.

        Raises:
          RequestIdReused: the id came with another body before.
        """
        earlier = await self._jobs.find_request(project, request_id) if request_id else None
        if earlier is None:
            return None
        if earlier[0] != digest:
            raise RequestIdReused(request_id=request_id)
        return await self._jobs.get(earlier[1])

    async def prepare(self, project: str, spec: RepairSpec) -> RepairRecord:
        """Resolves a request into a repair that could be accepted; nothing is stored or started."""
        resolved = await asyncio.to_thread(self._resolved, spec)
        planned = plan(resolved.spec, resolved.digests, {})
        name = f"projects/{project}/repairs/{uuid.uuid4().hex[:12]}"
        return _pending(name, resolved, [StepRecord(entry.name, entry.kind) for entry in planned])

    async def foresee(self, spec: RepairSpec) -> tuple[RepairRecord, Forecast]:
        """Returns the repair that a request would become, without a name, and what it would take; starts nothing."""
        return await asyncio.to_thread(self._foresee, spec)

    def _foresee(self, spec: RepairSpec) -> tuple[RepairRecord, Forecast]:
        resolved = self._resolved(spec)
        planned, results = present_results(resolved.spec, resolved.digests, self._find_result)
        steps = [StepRecord(entry.name, entry.kind).reusing(results.get(entry.name)) for entry in planned]
        return _pending("", resolved, steps), forecast(resolved.spec, planned, results, resolved.row_counts)

    def _resolved(self, spec: RepairSpec) -> ResolvedSpec:
        return resolve(spec, self._resolver, precision=self._precision)

    async def accept(self, record: RepairRecord, request_id: str, digest: str) -> RepairRecord:
        """Makes a prepared repair durable and has it driven."""
        accepted = await self._jobs.create(record, request_id, digest)
        self._reconciler.claimable()
        return accepted

    async def get(self, name: str) -> RepairRecord:
        """Returns a repair."""
        return await self._jobs.get(name)

    def progress(self, name: str) -> dict[str, Progress]:
        """Returns the latest progress of the running steps of a repair."""
        return self._reconciler.progress(name)

    async def list(self, project: str, size: int, after: str, states: Sequence[RepairState]) -> Page:
        """Returns a page of repairs, newest first."""
        return await self._jobs.list(project, size=size, after=after, states=states)

    async def pause(self, name: str) -> RepairRecord:
        """Asks a repair to save its state and free its worker; one that is pausing or paused stays so.

        Raises:
          IllegalTransition: it is being cancelled, or has ended.
        """
        record = await self._jobs.change_state(name, RepairState.PAUSING, unless=(RepairState.PAUSED,))
        self._reconciler.stop_requested(name)
        return record

    async def resume(self, name: str) -> RepairRecord:
        """Has a paused repair driven on; one that goes on already, or is about to start, stays so.

        Raises:
          IllegalTransition: it is still pausing, is being cancelled, or has ended.
        """
        record = await self._jobs.change_state(name, RepairState.RUNNING, unless=(RepairState.PENDING,))
        self._reconciler.claimable()
        return record

    async def cancel(self, name: str) -> RepairRecord:
        """Asks a repair to stop; one that is stopping or stopped stays so.

        Raises:
          IllegalTransition: it has succeeded or failed.
        """
        record = await self._jobs.change_state(name, RepairState.CANCELLING, unless=(RepairState.CANCELLED,))
        # Said again where it is known already: the call that cancelled it may have broken off before this.
        self._reconciler.stop_requested(name)
        return record

    async def delete(self, name: str) -> None:
        """Removes a repair that has ended."""
        await self._jobs.delete(name)

    async def watch(self, name: str, after: int) -> AsyncIterator[Update]:
        """Replays the durable events after a sequence number, then follows to the end of the repair."""
        quiet_since = time.monotonic()
        shown: dict[str, tuple[Progress, float]] = {}
        while True:
            ended = (await self._jobs.get(name)).state.is_terminal
            for event in await self._jobs.events(name, after):
                after, quiet_since = event.sequence, time.monotonic()
                yield event
            if ended:
                return
            now = time.monotonic()
            for step, progress in list(self._reconciler.progress(name).items()):
                last = shown.get(step)
                if last is None or (last[0] is not progress and now - last[1] >= _PROGRESS_EVERY_S):
                    shown[step] = (progress, now)
                    quiet_since = now
                    yield StepProgress(step, progress)
            if now - quiet_since >= _HEARTBEAT_S:
                quiet_since = now
                yield Heartbeat()
            await self._reconciler.changes(name, 1.0)

    async def report(self, name: str) -> RepairReport:
        """Returns the report of a repair.

        Raises:
          ReportNotReady: it has none yet, or will have none.
        """
        record = await self._jobs.get(name)
        result = record.results.get("report")
        if result is None:
            raise ReportNotReady(_why_no_report(record), state=record.state.name)
        gate, metrics = await self._dossiers.gate(record, record.spec.gate)
        return RepairReport(result.outputs["report"], gate, metrics)

    async def evaluate_gate(self, name: str, policy: GatePolicy) -> GateResult | None:
        """Evaluates a policy against the report of a repair; None where the policy cannot decide, see `judged`."""
        await self.report(name)
        gate, _ = await self._dossiers.gate(await self._jobs.get(name), policy)
        return gate


def _pending(name: str, resolved: ResolvedSpec, steps: Sequence[StepRecord]) -> RepairRecord:
    return RepairRecord(
        name=name,
        spec=resolved.spec,
        resolved=resolved.digests,
        state=RepairState.PENDING,
        created=datetime.now(UTC).isoformat(),
        steps=tuple(steps),
    )


def _why_no_report(record: RepairRecord) -> str:
    if record.spec.goal is RepairGoal.SELECTION:
        return "a request that ends with its selection has no report; ask for a repair to get one"
    return f"the repair is {record.state.name} and has no report"
