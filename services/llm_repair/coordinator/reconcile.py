"""The reconcile loop: reads a repair, finds what has no result yet, executes or attaches, repeats.

Level-triggered: nothing but the rows and the store says what comes next, so there is no hand-off to lose. A
service that cannot be reached is never read as a failed step; it is asked again until it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from typing import Final

from llm_repair.coordinator.dossier import DossierWriter
from llm_repair.coordinator.jobs import JobStore
from llm_repair.coordinator.plan import PlannedStep, plan
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.core.errors import AttemptFenced, RepairError, StepCancelled, WorkerLost
from llm_repair.core.execution import Progress, StepResult, Usage
from llm_repair.core.repairs import RepairState, StepState
from llm_repair.core.steps import step_key
from llm_repair.rpc.step_client import Noted, ServiceUnreachable, Started, StepClient

_log = logging.getLogger(__name__)

_POLL_S: Final = 1.0
_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 3.0
# A worker that dies again and again at the same step is a defect, not an interruption.
_MAX_WORKER_LOSSES: Final = 5


class Reconciler:
    """Drives all repairs that this coordinator holds."""

    def __init__(
        self, jobs: JobStore, client: StepClient, dossiers: DossierWriter, *, slots: int, lease_s: float
    ) -> None:
        """Drives repairs.

        Args:
          jobs: The durable rows.
          client: Where steps are executed.
          dossiers: Writes what the report is made of.
          slots: Executions at a time.
          lease_s: How long a silent coordinator keeps a repair.
        """
        self._jobs = jobs
        self._client = client
        self._dossiers = dossiers
        self._slots = asyncio.Semaphore(slots)
        self._lease_s = lease_s
        self._owner = uuid.uuid4().hex[:12]
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, set[str]] = defaultdict(set)
        self._news = _News()
        self._wake = asyncio.Event()
        self._cancels: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def run(self) -> None:
        """Claims and drives repairs until cancelled."""
        while True:
            while claimed := await self._jobs.claim(self._owner, self._lease_s):
                name, fence = claimed
                self._drives[name] = asyncio.create_task(self._drive_to_the_end(name, fence))
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _POLL_S)

    async def close(self) -> None:
        """Stops driving; the executions go on and are found again."""
        for task in self._drives.values():
            task.cancel()
        await asyncio.gather(*self._drives.values(), return_exceptions=True)

    def created(self) -> None:
        """Says that there is a new repair to claim."""
        self._wake.set()

    def cancel_requested(self, name: str) -> None:
        """Says that a repair is CANCELLING."""
        self._cancels[name].set()
        self._wake.set()

    def progress(self, name: str) -> dict[str, Progress]:
        """Returns the latest progress of the running steps of a repair."""
        return self._news.progress[name]

    async def changes(self, name: str, timeout_s: float) -> None:
        """Waits until something happens to a repair, at most so long."""
        await self._news.wait(name, timeout_s)

    async def _drive_to_the_end(self, name: str, fence: int) -> None:
        renewing = asyncio.create_task(self._keep_lease(name, fence))
        driving = asyncio.create_task(self._drive(name, fence))
        try:
            await asyncio.wait({renewing, driving}, return_when=asyncio.FIRST_COMPLETED)
            if not driving.done():
                await renewing  # raises what ended it
            await driving
        except AttemptFenced:
            _log.warning("repair was taken over", extra={"fields": {"repair": name}})
        except Exception:  # noqa: BLE001 - whatever it was, the repair is not lost: it is claimed again
            _log.exception(
                "driving a repair failed by a defect; it will be claimed again", extra={"fields": {"repair": name}}
            )
            await asyncio.sleep(_RETRY_MAX_S)
        finally:
            for task in (renewing, driving):
                task.cancel()
            await asyncio.gather(renewing, driving, return_exceptions=True)
            with contextlib.suppress(AttemptFenced, RuntimeError):
                await self._jobs.release(name, fence)
            self._drives.pop(name, None)
            self._cancels.pop(name, None)
            self._news.publish(name)

    async def _keep_lease(self, name: str, fence: int) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            await self._jobs.renew(name, fence, self._lease_s)

    async def _drive(self, name: str, fence: int) -> None:
        record = await self._jobs.get(name)
        if record.state is RepairState.PENDING:
            record = await self._change(name, RepairState.RUNNING, fence)
        while not record.state.is_terminal:
            if record.state is RepairState.CANCELLING:
                await self._change(name, RepairState.CANCELLED, fence)
                return
            planned = plan(record.spec, record.resolved, record.results, record.dossier_digest)
            await self._jobs.put_steps(name, fence, _merged(record, planned))
            waiting = [entry for entry in planned if entry.name not in record.results]
            if not waiting:
                await self._change(name, RepairState.SUCCEEDED, fence)
                return
            try:
                await self._advance(name, fence, record, waiting)
            except StepCancelled:
                if not self._cancels[name].is_set():
                    raise  # cancelled behind our back: the claim is taken up again
            except RepairError as error:
                if isinstance(error, AttemptFenced):
                    raise
                await self._fail(name, fence, error)
                return
            record = await self._jobs.get(name)

    async def _advance(self, name: str, fence: int, record: RepairRecord, waiting: list[PlannedStep]) -> None:
        """Executes the first step that has all its inputs, or writes the dossier when only the report is left."""
        first = next((entry for entry in waiting if entry.step is not None), None)
        if first is None:
            digest, verdict = await self._dossiers.write(record)
            await self._jobs.put_dossier(name, fence, digest, verdict)
            return
        async with self._slot(name):
            await self._execute(name, fence, first, record.step(first.name))

    @contextlib.asynccontextmanager
    async def _slot(self, name: str) -> AsyncGenerator[None]:
        """Holds a slot; a repair that is cancelled while it waits for one does not wait on."""
        acquiring = asyncio.create_task(self._slots.acquire())
        cancelled = asyncio.create_task(self._cancels[name].wait())
        try:
            await asyncio.wait({acquiring, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not acquiring.done():
                raise StepCancelled
            yield
        finally:
            cancelled.cancel()
            if not acquiring.cancel() and not acquiring.cancelled():
                self._slots.release()

    async def _execute(self, name: str, fence: int, planned: PlannedStep, before: StepRecord | None) -> None:
        assert planned.step is not None
        key = step_key(planned.step)
        record = dataclasses.replace(
            before or StepRecord(planned.name, planned.kind), key=key, state=StepState.RUNNING, start_time=_now()
        )
        self._wanted[key].add(name)
        cancelling = asyncio.create_task(self._cancel_when_asked(name, planned.kind, key))
        try:
            async for change in self._until_committed(name, planned, record):
                if isinstance(change, Noted):
                    fields = json.loads(change.fields_json)
                    await self._jobs.note(name, fence, planned.name, change.phrase, fields)
                elif isinstance(change, Progress):
                    self._news.progress[name][planned.name] = change
                else:
                    record = change
                    await self._jobs.change_step(name, fence, record)
                self._news.publish(name)
        except RepairError as error:
            state = StepState.CANCELLED if isinstance(error, StepCancelled) else StepState.FAILED
            record = dataclasses.replace(record, state=state, end_time=_now())
            await self._jobs.change_step(name, fence, record)
            error.metadata.setdefault("step", planned.name)
            raise
        finally:
            cancelling.cancel()
            self._wanted[key].discard(name)
            self._news.progress[name].pop(planned.name, None)

    async def _until_committed(
        self, name: str, planned: PlannedStep, record: StepRecord
    ) -> AsyncIterator[StepRecord | Progress | Noted]:
        """Executes a step through lost workers and unreachable services; the last record is the committed one."""
        assert planned.step is not None
        losses, delay_s, attempt = 0, _RETRY_FIRST_S, ""
        lost, running = Usage(), Usage()
        while True:
            self._raise_if_given_up(name, record.key)
            try:
                async for event in self._client.execute(planned.step):
                    delay_s = _RETRY_FIRST_S
                    self._raise_if_given_up(name, record.key, shared_only=True)
                    match event:
                        case Started():
                            if event.attempt != attempt:
                                attempt, lost, running = event.attempt, lost + running, Usage()
                                record = dataclasses.replace(record, attempts=record.attempts + 1)
                            yield record
                        case Usage():
                            running = event
                        case StepResult():
                            yield _committed(record, event, lost)
                            return
                        case _:
                            yield event
            except ServiceUnreachable:
                _log.info("service unreachable", extra={"fields": {"step": planned.name, "retry_s": delay_s}})
            except WorkerLost:
                losses += 1
                if losses >= _MAX_WORKER_LOSSES:
                    raise
                yield Noted("worker lost, trying again", json.dumps({"losses": losses}))
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MAX_S)

    def _raise_if_given_up(self, name: str, key: str, *, shared_only: bool = False) -> None:
        """Stops waiting for a step of a cancelled repair, when nothing runs or another repair needs it too."""
        if self._cancels[name].is_set() and not (shared_only and self._wanted[key] <= {name}):
            raise StepCancelled

    async def _cancel_when_asked(self, name: str, kind: str, key: str) -> None:
        await self._cancels[name].wait()
        # A key that another repair waits for goes on; this repair just stops waiting for it.
        if self._wanted[key] <= {name}:
            await self._client.cancel(kind, key)

    async def _fail(self, name: str, fence: int, error: RepairError) -> None:
        step = error.metadata.pop("step", "")
        failure = {"reason": error.reason, "message": error.message, "metadata": error.metadata, "step": step}
        await self._jobs.change_state(name, RepairState.FAILED, fence=fence, error=failure)
        self._news.publish(name)

    async def _change(self, name: str, to: RepairState, fence: int) -> RepairRecord:
        record = await self._jobs.change_state(name, to, fence=fence)
        self._news.publish(name)
        return record


class _News:
    """Wakes watchers, and holds the latest progress, which is not durable."""

    def __init__(self) -> None:
        self.progress: dict[str, dict[str, Progress]] = defaultdict(dict)
        self._events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def publish(self, name: str) -> None:
        self._events.pop(name, asyncio.Event()).set()

    async def wait(self, name: str, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._events[name].wait(), timeout_s)


def _merged(record: RepairRecord, planned: tuple[PlannedStep, ...]) -> list[StepRecord]:
    """Returns the records of all planned steps, keeping what is known of each."""
    return [record.step(entry.name) or StepRecord(entry.name, entry.kind) for entry in planned]


def _committed(record: StepRecord, result: StepResult, lost: Usage) -> StepRecord:
    notes = result.provenance.get("notes", [])
    return dataclasses.replace(
        record,
        state=StepState.COMMITTED,
        reused=record.attempts == 0,
        usage=result.usage + lost,
        outputs=result.outputs,
        summary=result.summary,
        provenance={key: value for key, value in result.provenance.items() if key != "notes"},
        notes=tuple(notes),  # pyright: ignore[reportArgumentType]
        end_time=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
