"""Starts, feeds, watches and ends worker processes.

Workers are spawned, never forked: a forked child of a process with a gRPC server or threads cannot be trusted.
Each one has its own process group, so that ending it ends what it started.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from llm_repair.core.errors import StepCancelled, WorkerLost
from llm_repair.core.steps import Step
from llm_repair.rpc.configuration import ServiceSettings
from llm_repair.rpc.step_messages import pack_step

_log = logging.getLogger(__name__)
# A cooperative stop is looked for at every batch; a worker that has not heard it after so long is killed.
_CANCEL_GRACE_S: Final = 30.0
# One that has heard it saves what it has: a checkpoint, the best model so far.
_LEAVE_GRACE_S: Final = 120.0
_MAX_LINE_BYTES: Final = 16 << 20

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """What a worker sent at the end of a step."""

    ended: dict[str, Any]
    """`{"output": …, "provenance": …}` or `{"error": …}`."""
    usage: dict[str, Any]


class WorkerPool:
    """Gives every step a worker, warm if one is free."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}
        self._starting: dict[str, bool] = {}
        """Steps that wait for a worker to start, and whether they were cancelled meanwhile."""
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, step: Step, key: str, attempt: str, entry: str, on_event: OnEvent) -> Outcome:
        """Runs a step to its end.

        Raises:
          StepCancelled: it was cancelled before it had a worker.
          WorkerLost: the worker died.
        """
        self._starting[key] = False
        try:
            worker = await self._acquire()
        finally:
            cancelled = self._starting.pop(key)
        if cancelled:
            self._keep(worker)
            raise StepCancelled
        self._busy[key] = worker
        try:
            outcome = await worker.run(step, key, attempt, entry, on_event)
        except BaseException:
            self._end(worker)
            raise
        finally:
            del self._busy[key]
        self._keep(worker)
        return outcome

    def cancel(self, key: str) -> None:
        """Asks the worker of a step to stop, and kills it when it does not listen."""
        if worker := self._busy.get(key):
            worker.cancel(key)
        elif key in self._starting:
            self._starting[key] = True

    async def close(self) -> None:
        """Ends all workers; running steps are lost and will be executed again."""
        for worker in [*self._idle, *self._busy.values()]:
            self._end(worker)
        self._idle.clear()
        await asyncio.gather(*self._ending)

    async def _acquire(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                worker.wake()
                return worker
            self._end(worker)
        return await _Worker.start(self._settings)

    def _keep(self, worker: _Worker) -> None:
        worker.idle_since(asyncio.get_running_loop(), self._settings.workers.idle_s, self._retire)
        self._idle.append(worker)

    def _retire(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        ending = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Worker:
    """One worker process."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        events: asyncio.StreamReader,
        pipe: asyncio.ReadTransport,
    ) -> None:
        self._process = process
        self._events = events
        self._pipe = pipe
        self._idle_timer: asyncio.TimerHandle | None = None
        self._kill_timer: asyncio.TimerHandle | None = None
        self._reaping = asyncio.get_running_loop().create_task(self._reap())
        self._is_reaped = False

    @staticmethod
    async def start(settings: ServiceSettings) -> _Worker:
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *_command(settings, write_fd),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
                start_new_session=True,
                env=_environment(settings),
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
        )
        _log.info("worker started", extra={"fields": {"pid": process.pid}})
        return _Worker(process, reader, pipe)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def run(self, step: Step, key: str, attempt: str, entry: str, on_event: OnEvent) -> Outcome:
        job = {
            "key": key,
            "attempt": attempt,
            "kind": step.kind,
            "entry": entry,
            "step": base64.b64encode(pack_step(step).SerializeToString()).decode(),
        }
        self._send(job)
        try:
            while line := await self._events.readline():
                event = json.loads(line)
                if event["key"] != key:
                    continue
                if "ended" in event:
                    return Outcome(event["ended"], event["usage"])
                if "stopping" in event:
                    self._kill_after(_LEAVE_GRACE_S)
                else:
                    on_event(event)
        finally:
            self._spare()
        code = await self._process.wait()
        raise WorkerLost(f"the worker process ended with {code} before the step did", exit=code)

    def cancel(self, key: str) -> None:
        self._send({"cancel": key})
        # Asked again, it is not given more time, and no second timer outlives the step to kill the next one.
        if self._kill_timer is None:
            self._kill_after(_CANCEL_GRACE_S)

    def _kill_after(self, grace_s: float) -> None:
        self._spare()
        self._kill_timer = asyncio.get_running_loop().call_later(grace_s, self.kill)

    def _spare(self) -> None:
        if self._kill_timer:
            self._kill_timer.cancel()
            self._kill_timer = None

    def idle_since(self, loop: asyncio.AbstractEventLoop, idle_s: float, retire: Callable[[_Worker], None]) -> None:
        self._idle_timer = loop.call_later(idle_s, retire, self)

    def wake(self) -> None:
        if self._idle_timer:
            self._idle_timer.cancel()

    def kill(self) -> None:
        self.wake()
        if not self._is_reaped:  # its number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kills the process and what it started, and waits until it is gone."""
        self.kill()
        if self._process.stdin:
            self._process.stdin.close()
        await self._reaping
        self._pipe.close()

    async def _reap(self) -> None:
        """Ends what a dead process started: a child that holds its pipe open would hide that it is gone."""
        await self._process.wait()
        self.kill()
        self._is_reaped = True

    def _send(self, message: dict[str, Any]) -> None:
        if self._process.stdin is None or self._process.stdin.is_closing():
            return  # the worker is dying; `run` notices by the end of its events
        self._process.stdin.write(json.dumps(message).encode() + b"\n")


def _command(settings: ServiceSettings, events_fd: int) -> list[str]:
    store, workers = settings.store, settings.workers
    command = [sys.executable, "-m", "llm_repair.rpc.worker", f"--events-fd={events_fd}", f"--parent={os.getpid()}"]
    command += [f"--store={store.url}", f"--project={store.project}"]
    command += [f"--threads={workers.threads}", f"--heartbeat-s={workers.heartbeat_s}"]
    command += [f"--cache-dir={store.cache_dir}"] if store.cache_dir else []
    command += [f"--allowed-root={root}" for root in workers.allowed_roots]
    command += [f"--allowed-scheme={scheme}" for scheme in workers.allowed_schemes]
    return command


def _environment(settings: ServiceSettings) -> dict[str, str]:
    """Returns the parent's environment with thread counts set, since spinning threads ruin shared cores.

    And with the network of ranks set to loopback, where nobody else can reach them.
    """
    threads = str(settings.workers.threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }
