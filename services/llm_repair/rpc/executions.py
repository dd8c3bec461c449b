"""Executions of steps: answered from the store, attached to, or started; watched, cancelled, committed.

One `Executions` per service. A caller that goes away cancels nothing; the execution goes on and the next call
with the same spec attaches to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ExecutionNotFound, RepairError, StepCancelled, WorkerLost
from llm_repair.core.execution import Progress, StepResult, Usage
from llm_repair.core.results import output_from_json
from llm_repair.core.steps import Step, step_key
from llm_repair.rpc import execution_messages as messages
from llm_repair.rpc.errors import error_from_json
from llm_repair.rpc.training_gauges import TrainingGauges
from llm_repair.rpc.worker_pool import Outcome, WorkerPool
from llm_repair.v1 import execution_pb2

_log = logging.getLogger(__name__)


class Executions:
    """All executions of one service."""

    def __init__(
        self,
        store: ArtifactStore,
        workers: WorkerPool,
        entries: Mapping[str, str],
        registry: CollectorRegistry,
        *,
        heartbeat_s: float,
    ) -> None:
        """Runs steps.

        Args:
          store: Where results are committed.
          workers: Who does the work.
          entries: `module:function` of the code of each step kind; imported in workers only.
          registry: Where the metrics are counted.
          heartbeat_s: Longest silence of a stream.
        """
        self._store = store
        self._workers = workers
        self._entries = entries
        self._heartbeat_s = heartbeat_s
        self._running: dict[str, _Execution] = {}
        self._ended = Counter(
            "llm_repair_executions",
            "Executions that ended, by step kind and outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._usage = Counter(
            "llm_repair_execution_cpu_seconds",
            "Processor seconds of executions, by step kind.",
            ["kind"],
            registry=registry,
        )
        self._training = TrainingGauges(registry)
        running = Gauge("llm_repair_executions_running", "Executions running now.", registry=registry)
        running.set_function(lambda: len(self._running))

    async def execute(self, step: Step) -> AsyncIterator[execution_pb2.ExecutionEvent]:
        """Streams the execution of a step to its committed result.

        Raises:
          RepairError: the step failed or was cancelled.
        """
        key = step_key(step)
        execution = self._running.get(key)
        if execution is None:
            if result := await asyncio.to_thread(self._store.get_result, key):
                yield messages.committed(result)
                return
            # Another call may have started it while the store was asked.
            execution = self._running.get(key) or self._start(step, key)
        async for event in execution.follow(self._heartbeat_s):
            yield event

    def cancel(self, key: str) -> None:
        """Tells the execution of a key to stop.

        Raises:
          ExecutionNotFound: none is running here.
        """
        if key not in self._running:
            raise ExecutionNotFound(key=key)
        self._running[key].is_cancelled = True
        self._workers.cancel(key)

    async def close(self) -> None:
        """Ends all executions; what they had not committed will be executed again."""
        running = list(self._running.values())
        for execution in running:
            execution.task.cancel()
        await self._workers.close()
        await asyncio.gather(*(execution.task for execution in running), return_exceptions=True)

    def _start(self, step: Step, key: str) -> _Execution:
        execution = _Execution(key, step.kind)
        self._running[key] = execution
        execution.task = asyncio.create_task(self._run(step, execution))
        return execution

    async def _run(self, step: Step, execution: _Execution) -> None:
        outcome_name = "failed"

        def on_event(event: Mapping[str, Any]) -> None:
            execution.on_worker_event(event)
            if "progress" in event:
                self._training.show(step.kind, event["progress"]["measures"])

        try:
            if execution.is_cancelled:
                raise StepCancelled
            outcome = await self._workers.run(
                step, execution.key, execution.attempt, self._entries[step.kind], on_event
            )
            self._usage.labels(step.kind).inc(outcome.usage["cpu_s"])
            execution.on_worker_event({"heartbeat": outcome.usage})
            if "error" in outcome.ended:
                raise error_from_json(outcome.ended["error"])
            result = await asyncio.to_thread(self._store.commit_result, execution.result(outcome))
            execution.end(result=result)
            outcome_name = "committed"
        except RepairError as error:
            execution.end(error=error)
            _log.warning("step failed", extra={"fields": {"key": execution.key, "reason": error.reason}})
        except asyncio.CancelledError:
            execution.end(error=WorkerLost("the service is stopping"))
            raise
        except BaseException as error:
            execution.end(error=RepairError("the execution ended by a defect"))
            _log.exception("execution failed by a defect", extra={"fields": {"key": execution.key}})
            if not isinstance(error, Exception):
                raise
        finally:
            del self._running[execution.key]
            self._training.end(step.kind)
            self._ended.labels(step.kind, outcome_name).inc()


class _Execution:
    """One running execution and what its followers may see."""

    task: asyncio.Task[None]

    def __init__(self, key: str, kind: str) -> None:
        self.key = key
        self.kind = kind
        self.is_cancelled = False
        self.attempt = uuid.uuid4().hex[:12]
        self._start_time = datetime.datetime.now(datetime.UTC)
        self._progress: Progress | None = None
        self._progress_count = 0
        self._stage_start: tuple[Progress, float] | None = None
        self._notes: list[Mapping[str, Any]] = []
        self._usage = Usage()
        self._result: StepResult | None = None
        self._error: RepairError | None = None
        self._followed_before = False
        self._changed = asyncio.Event()

    def on_worker_event(self, event: Mapping[str, Any]) -> None:
        """Takes in what the worker sent; followers are woken, slow ones see only the latest progress."""
        if "progress" in event:
            self._progress = self._with_eta(Progress(**event["progress"]))
            self._progress_count += 1
        elif "note" in event:
            self._notes.append(event["note"])
        elif "heartbeat" in event:
            self._usage = Usage(**event["heartbeat"])
        self._wake()

    def end(self, *, result: StepResult | None = None, error: RepairError | None = None) -> None:
        """Records the outcome."""
        self._result, self._error = result, error
        self._wake()

    def result(self, outcome: Outcome) -> StepResult:
        """Builds the manifest from what the worker returned."""
        output = output_from_json(outcome.ended["output"])
        usage = Usage(**outcome.usage)
        written = sum(artifact.size_bytes for artifact in output.outputs.values())
        return StepResult(
            key=self.key,
            kind=self.kind,
            outputs=output.outputs,
            summary=output.summary,
            usage=usage + Usage(written_bytes=written),
            provenance={
                **outcome.ended["provenance"],
                "attempt": self.attempt,
                "start_time": self._start_time.isoformat(),
                "end_time": datetime.datetime.now(datetime.UTC).isoformat(),
                "notes": self._notes,
            },
        )

    async def follow(self, heartbeat_s: float) -> AsyncIterator[execution_pb2.ExecutionEvent]:
        """Streams events until the end; raises the error of a failed execution."""
        attached, self._followed_before = self._followed_before, True
        yield messages.started(self.key, self.attempt, self._start_time, attached=attached)
        shown_notes = shown_progress = 0
        beat_due = time.monotonic() + heartbeat_s
        while self._result is None and self._error is None:
            changed = self._changed
            news = [messages.note(self.key, note) for note in self._notes[shown_notes:]]
            shown_notes += len(news)
            if self._progress is not None and self._progress_count > shown_progress:
                shown_progress = self._progress_count
                news.append(messages.progress(self.key, self._progress))
            # Beside other news too: whoever follows is to know what an attempt had consumed when it was lost.
            if time.monotonic() >= beat_due:
                beat_due = time.monotonic() + heartbeat_s
                news.append(messages.heartbeat(self.key, self._usage))
            for event in news:
                yield event
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(beat_due - time.monotonic()):
                    await changed.wait()
        for note in self._notes[shown_notes:]:
            yield messages.note(self.key, note)
        if self._error is not None:
            yield messages.heartbeat(self.key, self._usage)
            raise self._error
        assert self._result is not None
        yield messages.committed(self._result)

    def _with_eta(self, progress: Progress) -> Progress:
        now = time.monotonic()
        first, started = self._stage_start or (progress, now)
        if self._stage_start is None or first.stage != progress.stage or progress.done < first.done:
            first, started = self._stage_start = (progress, now)
        # What was done before the stage was first heard of, as by a resumed training, says nothing of the speed.
        done_since = progress.done - first.done
        if not progress.total or done_since <= 0:
            return progress
        eta_s = (now - started) * max(0.0, progress.total - progress.done) / done_since
        return dataclasses.replace(progress, eta_s=eta_s)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
