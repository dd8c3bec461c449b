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
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final

from llm_repair.coordinator.dossier import DossierWriter
from llm_repair.coordinator.jobs import DatabaseError, JobStore
from llm_repair.coordinator.news import News
from llm_repair.coordinator.plan import PlannedStep, plan
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.core.errors import AttemptFenced, IllegalTransition, RepairError, StepCancelled, WorkerLost
from llm_repair.core.execution import Progress, StepResult, Usage
from llm_repair.core.repairs import RepairState, StepState
from llm_repair.core.steps import step_key
from llm_repair.rpc.errors import is_retriable, new_error_id
from llm_repair.rpc.step_client import Noted, ServiceUnreachable, Started, StepClient

_log = logging.getLogger(__name__)

_POLL_S: Final = 1.0
_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 3.0
# A worker that dies again and again at the same step is a defect, not an interruption; so is a store that stays away.
_MAX_INTERRUPTIONS: Final = 5
# A defect that meets a repair every time it is taken up again will not go away by itself.
_MAX_DEFECTS: Final = 5


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
        self._news = News()
        self._wake = asyncio.Event()
        self._cancels: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._defects: Counter[str] = Counter()

    async def run(self) -> None:
        """Claims and drives repairs until cancelled."""
        while True:
            self._wake.clear()
            try:
                while claimed := await self._jobs.claim(self._owner, self._lease_s):
                    name, fence = claimed
                    self._drives[name] = asyncio.create_task(self._drive_to_the_end(name, fence))
            except DatabaseError:
                _log.exception("repairs could not be claimed; it will be tried again")
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()

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
        if name in self._drives:  # whoever takes it up later finds the state itself
            self._cancels[name].set()
        self._wake.set()

    def progress(self, name: str) -> dict[str, Progress]:
        """Returns the latest progress of the running steps of a repair."""
        return self._news.progress.get(name, {})

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
            del self._defects[name]
        except AttemptFenced:
            _log.warning("repair was taken over", extra=_about(name))
        except DatabaseError:
            _log.exception("the job database failed; the repair will be claimed again", extra=_about(name))
            await asyncio.sleep(_RETRY_MAX_S)
        except Exception:  # noqa: BLE001 - whatever it was, the repair is not lost: it is claimed again
            await self._survive_defect(name, fence)
        finally:
            for task in (renewing, driving):
                task.cancel()
            await asyncio.gather(renewing, driving, return_exceptions=True)
            with contextlib.suppress(AttemptFenced, RuntimeError, DatabaseError):  # the lease runs out by itself
                await self._jobs.release(name, fence)
            if self._drives.get(name) is asyncio.current_task():  # not when it was claimed again after a long stall
                del self._drives[name]
                self._cancels.pop(name, None)
            self._news.publish(name)

    async def _survive_defect(self, name: str, fence: int) -> None:
        """Logs a defect met while driving; a repair that meets one every time is failed, not tried for ever."""
        error_id = new_error_id()
        _log.exception("driving a repair failed by a defect", extra=_about(name, error_id=error_id))
        self._defects[name] += 1
        await asyncio.sleep(_RETRY_MAX_S)
        if self._defects[name] >= _MAX_DEFECTS:
            del self._defects[name]
            sentence = f"The coordinator failed; its log has the details under {error_id}."
            with contextlib.suppress(AttemptFenced, DatabaseError):
                await self._fail(name, fence, RepairError(sentence, error_id=error_id))

    async def _keep_lease(self, name: str, fence: int) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            state = await self._jobs.renew(name, fence, self._lease_s)
            # Told by the row too: the call that cancelled may have gone to another coordinator, or broken off.
            if state is RepairState.CANCELLING:
                self._cancels[name].set()

    async def _drive(self, name: str, fence: int) -> None:
        while not (record := await self._jobs.get(name)).state.is_terminal:
            if record.state is RepairState.CANCELLING:
                await self._stop_what_runs(name, fence, record)
                await self._change(name, RepairState.CANCELLED, fence)
                return
            if record.state is RepairState.PENDING:
                with contextlib.suppress(IllegalTransition):  # cancelled this moment; the next look tells
                    await self._change(name, RepairState.RUNNING, fence)
                continue
            planned = plan(record.spec, record.resolved, record.results, record.dossier_digest)
            await self._jobs.put_steps(name, fence, _merged(record, planned))
            waiting = [entry for entry in planned if entry.name not in record.results]
            if not waiting:
                await self._change(name, RepairState.SUCCEEDED, fence)
                return
            try:
                await self._advance(name, fence, record, waiting)
                del self._defects[name]
            except StepCancelled:
                if not self._cancels[name].is_set():  # cancelled behind our back, so it is executed again
                    await asyncio.sleep(_RETRY_MAX_S)
            except RepairError as error:
                if isinstance(error, AttemptFenced):
                    raise
                await self._fail(name, fence, error)
                return

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
        before = before or StepRecord(planned.name, planned.kind)
        record = dataclasses.replace(before, key=key, state=StepState.RUNNING, start_time=_now())
        self._wanted[key].add(name)
        cancelling = asyncio.create_task(self._cancel_when_asked(name, planned.kind, key))
        try:
            async with contextlib.aclosing(self._until_committed(name, planned, record)) as changes:
                async for change in changes:
                    match change:
                        case Noted():
                            fields = json.loads(change.fields_json)
                            await self._jobs.note(name, fence, planned.name, change.phrase, fields)
                        case Progress():
                            self._news.progress[name][planned.name] = change
                        case Usage():
                            record = dataclasses.replace(record, usage=change)
                            continue
                        case StepRecord():
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
            if not self._wanted[key]:
                del self._wanted[key]
            self._news.forget(name, planned.name)

    async def _until_committed(
        self, name: str, planned: PlannedStep, record: StepRecord
    ) -> AsyncGenerator[StepRecord | Usage | Progress | Noted, None]:
        """Executes a step through lost workers and unreachable services; the last record is the committed one."""
        assert planned.step is not None
        interruptions, delay_s = 0, _RETRY_FIRST_S
        # What is recorded was consumed by attempts before the recorded one, or by one that has ended.
        lost, running = record.usage, Usage()
        while True:
            if self._cancels[name].is_set():
                await self._stop(name, planned.kind, record.key)
                raise StepCancelled
            try:
                async with contextlib.aclosing(self._client.execute(planned.step)) as events:
                    async for event in events:
                        delay_s = _RETRY_FIRST_S
                        if self._cancels[name].is_set() and self._is_wanted_elsewhere(name, record.key):
                            raise StepCancelled  # the others go on waiting
                        match event:
                            case Started():
                                if event.attempt != record.attempt:
                                    lost, running = lost + running, Usage()
                                    record = _attempted(record, event.attempt, lost)
                                yield record
                            case Usage():
                                running = event
                                yield lost + running
                            case StepResult():
                                yield _committed(record, event, lost)
                                return
                            case _:
                                yield event
            except ServiceUnreachable:
                _log.info("service unreachable", extra={"fields": {"step": planned.name, "retry_s": delay_s}})
            except RepairError as error:
                interruptions += 1
                if not is_retriable(error) or interruptions >= _MAX_INTERRUPTIONS:
                    raise
                phrase = "worker lost, trying again" if isinstance(error, WorkerLost) else "interrupted, trying again"
                yield Noted(phrase, json.dumps({"reason": error.reason, "interruptions": interruptions}))
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MAX_S)

    def _is_wanted_elsewhere(self, name: str, key: str) -> bool:
        return not self._wanted.get(key, set()) <= {name}

    async def _cancel_when_asked(self, name: str, kind: str, key: str) -> None:
        await self._cancels[name].wait()
        # Until it has ended: an execution that was only just being started did not hear it the first time.
        while True:
            await self._stop(name, kind, key)
            await asyncio.sleep(_POLL_S)

    async def _stop_what_runs(self, name: str, fence: int, record: RepairRecord) -> None:
        """Stops the executions that a coordinator before this one left running."""
        for step in record.steps:
            if step.state is StepState.RUNNING:
                await self._stop(name, step.kind, step.key)
                stopped = dataclasses.replace(step, state=StepState.CANCELLED, end_time=_now())
                await self._jobs.change_step(name, fence, stopped)

    async def _stop(self, name: str, kind: str, key: str) -> None:
        """Tells the execution of a key to stop, unless another repair waits for it."""
        if self._is_wanted_elsewhere(name, key):
            return
        try:
            await self._client.cancel(kind, key)
        except RepairError as error:
            _log.warning("an execution could not be cancelled", extra=_about(name, key=key, reason=error.reason))

    async def _fail(self, name: str, fence: int, error: RepairError) -> None:
        step = error.metadata.pop("step", "")
        failure = {"reason": error.reason, "message": error.message, "metadata": error.metadata, "step": step}
        await self._jobs.change_state(name, RepairState.FAILED, fence=fence, error=failure)
        self._news.publish(name)

    async def _change(self, name: str, to: RepairState, fence: int) -> RepairRecord:
        record = await self._jobs.change_state(name, to, fence=fence)
        self._news.publish(name)
        return record


def _merged(record: RepairRecord, planned: tuple[PlannedStep, ...]) -> list[StepRecord]:
    """Returns the records of all planned steps, keeping what is known of each."""
    return [record.step(entry.name) or StepRecord(entry.name, entry.kind) for entry in planned]


def _attempted(record: StepRecord, attempt: str, lost: Usage) -> StepRecord:
    return dataclasses.replace(record, attempts=record.attempts + 1, attempt=attempt, usage=lost)


def _about(name: str, **fields: str) -> dict[str, dict[str, str]]:
    return {"fields": {"repair": name, **fields}}


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
