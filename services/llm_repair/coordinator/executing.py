"""Executes one step of a repair: starts it or attaches, outlives lost workers and absent services, stops when asked."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final

from llm_repair.coordinator.jobs import JobStore
from llm_repair.coordinator.news import News
from llm_repair.coordinator.plan import PlannedStep
from llm_repair.coordinator.records import StepRecord
from llm_repair.core.errors import RepairError, StepCancelled, WorkerLost
from llm_repair.core.execution import Progress, StepResult, Usage
from llm_repair.core.repairs import StepState
from llm_repair.core.steps import step_key
from llm_repair.rpc.errors import is_retriable
from llm_repair.rpc.step_client import Noted, ServiceUnreachable, Started, StepClient

_log = logging.getLogger(__name__)

_POLL_S: Final = 1.0
_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 3.0
# A worker that dies again and again at the same step is a defect, not an interruption; so is a store that stays away.
_MAX_INTERRUPTIONS: Final = 5


@dataclasses.dataclass(frozen=True)
class Claim:
    """A repair that this coordinator holds."""

    name: str
    fence: int
    stop: asyncio.Event
    """Set when the repair is to stop what it does, for a while or for good."""


class StepFailed(Exception):
    """A step of a repair failed.

    Not told by the error's own metadata, where `step` is the optimizer step of a training.
    """

    def __init__(self, step: str, error: RepairError) -> None:
        """Carries the step's name in its repair, and why it failed."""
        super().__init__(f"step {step} failed: {error.reason}")
        self.step = step
        self.error = error


class Executor:
    """Executes steps of repairs at the services, and knows which repairs wait for which key."""

    def __init__(self, jobs: JobStore, client: StepClient, news: News) -> None:
        """Writes what happens to a step into its row, and its progress into the news."""
        self._jobs = jobs
        self._client = client
        self._news = news
        self._wanted: dict[str, set[str]] = defaultdict(set)

    async def execute(self, claim: Claim, planned: PlannedStep, before: StepRecord | None) -> None:
        """Executes a step that has all its inputs, to its committed result.

        Raises:
          StepCancelled: the repair is to stop, or somebody else cancelled the execution; the step waits again.
          StepFailed: the step failed.
        """
        assert planned.step is not None
        name, key = claim.name, step_key(planned.step)
        before = before or StepRecord(planned.name, planned.kind)
        record = dataclasses.replace(before, key=key, state=StepState.RUNNING, start_time=_now())
        self._wanted[key].add(name)
        stopping = asyncio.create_task(self._stop_when_asked(claim, planned.kind, key))
        try:
            async with contextlib.aclosing(self._until_committed(claim, planned, record)) as changes:
                async for change in changes:
                    match change:
                        case Noted():
                            fields = json.loads(change.fields_json)
                            await self._jobs.note(name, claim.fence, planned.name, change.phrase, fields)
                        case Progress():
                            self._news.progress[name][planned.name] = change
                        case Usage():
                            record = dataclasses.replace(record, usage=change)
                            continue
                        case StepRecord():
                            record = change
                            await self._jobs.change_step(name, claim.fence, record)
                    self._news.publish(name)
        except StepCancelled:
            await self._jobs.change_step(name, claim.fence, record.put_back())
            raise
        except RepairError as error:
            record = dataclasses.replace(record, state=StepState.FAILED, end_time=_now())
            await self._jobs.change_step(name, claim.fence, record)
            raise StepFailed(planned.name, error) from error
        finally:
            stopping.cancel()
            self._wanted[key].discard(name)
            if not self._wanted[key]:
                del self._wanted[key]
            self._news.forget(name, planned.name)

    async def stop(self, name: str, kind: str, key: str) -> bool:
        """Tells the execution of a key to stop, unless another repair waits for it; returns whether there was one."""
        if self._is_wanted_elsewhere(name, key):
            return False
        try:
            return await self._client.cancel(kind, key)
        except RepairError as error:
            about = {"repair": name, "key": key, "reason": error.reason}
            _log.warning("an execution could not be cancelled", extra={"fields": about})
            return False

    async def wait_until_stopped(self, name: str, step: StepRecord) -> None:
        """Tells the execution of a step to stop until there is none, or others want it."""
        while await self.stop(name, step.kind, step.key):  # noqa: ASYNC110 - it signals nothing to who does not follow
            await asyncio.sleep(_POLL_S)

    async def _until_committed(
        self, claim: Claim, planned: PlannedStep, record: StepRecord
    ) -> AsyncGenerator[StepRecord | Usage | Progress | Noted, None]:
        """Executes a step through lost workers and unreachable services; the last record is the committed one."""
        assert planned.step is not None
        interruptions, delay_s = 0, _RETRY_FIRST_S
        # What is recorded was consumed by attempts before the recorded one, or by one that has ended.
        lost, running = record.usage, Usage()
        while True:
            if claim.stop.is_set():
                await self.stop(claim.name, planned.kind, record.key)
                raise StepCancelled
            try:
                async with contextlib.aclosing(self._client.execute(planned.step)) as events:
                    async for event in events:
                        delay_s = _RETRY_FIRST_S
                        if claim.stop.is_set() and self._is_wanted_elsewhere(claim.name, record.key):
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

    async def _stop_when_asked(self, claim: Claim, kind: str, key: str) -> None:
        await claim.stop.wait()
        # Until it has ended: an execution that was only just being started did not hear it the first time.
        while True:
            await self.stop(claim.name, kind, key)
            await asyncio.sleep(_POLL_S)


def _attempted(record: StepRecord, attempt: str, lost: Usage) -> StepRecord:
    return dataclasses.replace(record, attempts=record.attempts + 1, attempt=attempt, usage=lost)


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
