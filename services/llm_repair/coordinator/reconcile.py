"""The reconcile loop: reads a repair, finds what has no result yet, executes or attaches, repeats.

Level-triggered: nothing but the rows and the store says what comes next, so there is no hand-off to lose. A
service that cannot be reached is never read as a failed step; it is asked again until it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from llm_repair.coordinator.dossier import DossierWriter
from llm_repair.coordinator.executing import Claim, Executor, StepFailed
from llm_repair.coordinator.jobs import DatabaseError, JobStore
from llm_repair.coordinator.news import News
from llm_repair.coordinator.plan import PlannedStep, plan
from llm_repair.coordinator.records import PARTIAL, RepairRecord, StepRecord
from llm_repair.core.errors import AttemptFenced, IllegalTransition, RepairError, StepCancelled
from llm_repair.core.execution import Artifact, Progress
from llm_repair.core.repairs import RepairState, StepState
from llm_repair.rpc.errors import new_error_id
from llm_repair.rpc.step_client import StepClient

_log = logging.getLogger(__name__)

_POLL_S: Final = 1.0
_RETRY_MAX_S: Final = 3.0
# A defect that meets a repair every time it is taken up again will not go away by itself.
_MAX_DEFECTS: Final = 5
_HALTS: Final = {RepairState.CANCELLING: RepairState.CANCELLED, RepairState.PAUSING: RepairState.PAUSED}
"""What a repair is asked to do, and what it is afterwards."""

Partials = Callable[[str], Mapping[str, Artifact]]
"""What cancelled attempts of a key left, by attempt, the newest last."""


class Reconciler:
    """Drives all repairs that this coordinator holds."""

    def __init__(
        self,
        jobs: JobStore,
        client: StepClient,
        dossiers: DossierWriter,
        partials: Partials,
        *,
        slots: int,
        lease_s: float,
    ) -> None:
        """Drives repairs.

        Args:
          jobs: The durable rows.
          client: Where steps are executed.
          dossiers: Writes what the report is made of.
          partials: Finds what cancelled attempts left; blocking.
          slots: Executions at a time.
          lease_s: How long a silent coordinator keeps a repair.
        """
        self._jobs = jobs
        self._dossiers = dossiers
        self._partials = partials
        self._slots = asyncio.Semaphore(slots)
        self._lease_s = lease_s
        self._owner = uuid.uuid4().hex[:12]
        self._claims: dict[str, Claim] = {}
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._news = News()
        self._executor = Executor(jobs, client, self._news)
        self._wake = asyncio.Event()
        self._defects: Counter[str] = Counter()

    async def run(self) -> None:
        """Claims and drives repairs until cancelled."""
        while True:
            self._wake.clear()
            try:
                while claimed := await self._jobs.claim(self._owner, self._lease_s):
                    claim = Claim(*claimed, stop=asyncio.Event())
                    self._claims[claim.name] = claim
                    self._drives[claim.name] = asyncio.create_task(self._drive_to_the_end(claim))
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

    def claimable(self) -> None:
        """Says that there is a repair to claim: a new one, or one that goes on."""
        self._wake.set()

    def stop_requested(self, name: str) -> None:
        """Says that a repair is CANCELLING or PAUSING."""
        if claim := self._claims.get(name):  # whoever takes it up later finds the state itself
            claim.stop.set()
        self._wake.set()

    def progress(self, name: str) -> dict[str, Progress]:
        """Returns the latest progress of the running steps of a repair."""
        return self._news.progress.get(name, {})

    async def changes(self, name: str, timeout_s: float) -> None:
        """Waits until something happens to a repair, at most so long."""
        await self._news.wait(name, timeout_s)

    async def _drive_to_the_end(self, claim: Claim) -> None:
        name = claim.name
        renewing = asyncio.create_task(self._keep_lease(claim))
        driving = asyncio.create_task(self._drive(claim))
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
            await self._survive_defect(claim)
        finally:
            for task in (renewing, driving):
                task.cancel()
            await asyncio.gather(renewing, driving, return_exceptions=True)
            with contextlib.suppress(AttemptFenced, RuntimeError, DatabaseError):  # the lease runs out by itself
                await self._jobs.release(name, claim.fence)
            if self._claims.get(name) is claim:  # not when it was claimed again after a long stall
                del self._claims[name], self._drives[name]
            self._news.publish(name)

    async def _survive_defect(self, claim: Claim) -> None:
        """Logs a defect met while driving; a repair that meets one every time is failed, not tried for ever."""
        error_id = new_error_id()
        _log.exception("driving a repair failed by a defect", extra=_about(claim.name, error_id=error_id))
        self._defects[claim.name] += 1
        await asyncio.sleep(_RETRY_MAX_S)
        if self._defects[claim.name] >= _MAX_DEFECTS:
            del self._defects[claim.name]
            sentence = f"The coordinator failed; its log has the details under {error_id}."
            with contextlib.suppress(AttemptFenced, DatabaseError):
                await self._fail(claim, RepairError(sentence, error_id=error_id))

    async def _keep_lease(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            state = await self._jobs.renew(claim.name, claim.fence, self._lease_s)
            # Told by the row too: the call that asked for it may have gone to another coordinator, or broken off.
            if state in _HALTS:
                claim.stop.set()

    async def _drive(self, claim: Claim) -> None:
        while not (record := await self._look(claim)).state.is_terminal and record.state is not RepairState.PAUSED:
            if record.state in _HALTS:
                await self._halt(claim, record)
                continue
            if record.state is RepairState.PENDING:
                with contextlib.suppress(IllegalTransition):  # asked to stop this moment; the next look tells
                    await self._change(claim, RepairState.RUNNING)
                continue
            planned = plan(record.spec, record.resolved, record.results, record.dossier_digest)
            await self._jobs.put_steps(claim.name, claim.fence, _merged(record, planned))
            waiting = [entry for entry in planned if entry.name not in record.results]
            if not waiting:
                await self._change(claim, RepairState.SUCCEEDED)
                return
            try:
                await self._advance(claim, record, waiting)
                del self._defects[claim.name]
            except StepCancelled:
                if not claim.stop.is_set():  # cancelled behind our back, so it is executed again
                    await asyncio.sleep(_RETRY_MAX_S)
            except StepFailed as failed:
                await self._fail(claim, failed.error, step=failed.step)
                return
            except RepairError as error:
                if isinstance(error, AttemptFenced):
                    raise
                await self._fail(claim, error)
                return

    async def _look(self, claim: Claim) -> RepairRecord:
        """Returns the repair; whoever asks it to stop after this look sets the event again."""
        claim.stop.clear()
        return await self._jobs.get(claim.name)

    async def _advance(self, claim: Claim, record: RepairRecord, waiting: list[PlannedStep]) -> None:
        """Executes the first step that has all its inputs, or writes the dossier when only the report is left."""
        first = next((entry for entry in waiting if entry.step is not None), None)
        if first is None:
            digest, verdict = await self._dossiers.write(record)
            await self._jobs.put_dossier(claim.name, claim.fence, digest, verdict)
            return
        async with self._slot(claim):
            await self._executor.execute(claim, first, record.step(first.name))

    @contextlib.asynccontextmanager
    async def _slot(self, claim: Claim) -> AsyncGenerator[None]:
        """Holds a slot; a repair that is to stop while it waits for one does not wait on."""
        acquiring = asyncio.create_task(self._slots.acquire())
        stopped = asyncio.create_task(claim.stop.wait())
        try:
            await asyncio.wait({acquiring, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not acquiring.done():
                raise StepCancelled
            yield
        finally:
            stopped.cancel()
            if not acquiring.cancel() and not acquiring.cancelled():
                self._slots.release()

    async def _halt(self, claim: Claim, record: RepairRecord) -> None:
        """Stops what runs for a repair that is to be cancelled or paused, and writes down where that leaves it."""
        for step in record.steps:
            if step.attempts and step.state in (StepState.RUNNING, StepState.WAITING):
                # Waited for: a coordinator before this one may have left it running, and what it leaves comes last.
                await self._executor.wait_until_stopped(claim.name, step)
                cancelled = record.state is RepairState.CANCELLING
                after = await self._given_up(claim, step) if cancelled else step.put_back()
                if after != step:
                    await self._jobs.change_step(claim.name, claim.fence, after)
        with contextlib.suppress(IllegalTransition):  # asked for something else this moment; the next look tells
            await self._change(claim, _HALTS[record.state])

    async def _given_up(self, claim: Claim, step: StepRecord) -> StepRecord:
        """Returns a step as cancelled, with the newest of what its attempts left."""
        try:
            left = list((await asyncio.to_thread(self._partials, step.key)).values())
        except RepairError as error:  # the repair ends all the same; what was left stays in the store
            about = _about(claim.name, key=step.key, reason=error.reason)
            _log.warning("what a cancelled step left could not be looked up", extra=about)
            left = []
        outputs = {PARTIAL: left[-1]} if left else {}
        return dataclasses.replace(step, state=StepState.CANCELLED, end_time=_now(), outputs=outputs)

    async def _fail(self, claim: Claim, error: RepairError, *, step: str = "") -> None:
        failure = {"reason": error.reason, "message": error.message, "metadata": error.metadata, "step": step}
        await self._jobs.change_state(claim.name, RepairState.FAILED, fence=claim.fence, error=failure)
        self._news.publish(claim.name)

    async def _change(self, claim: Claim, to: RepairState) -> None:
        await self._jobs.change_state(claim.name, to, fence=claim.fence)
        self._news.publish(claim.name)


def _merged(record: RepairRecord, planned: tuple[PlannedStep, ...]) -> list[StepRecord]:
    """Returns the records of all planned steps, keeping what is known of each."""
    return [record.step(entry.name) or StepRecord(entry.name, entry.kind) for entry in planned]


def _about(name: str, **fields: str) -> dict[str, dict[str, str]]:
    return {"fields": {"repair": name, **fields}}


def _now() -> str:
    return datetime.now(UTC).isoformat()
