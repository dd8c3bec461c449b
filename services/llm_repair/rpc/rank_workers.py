"""Ranks: workers that a worker starts to run one step together, and that end together.

Each is a worker like its parent, in the parent's process group and dead when it dies, with one job: code of the step
and the rank's place among the others. As soon as one fails, the others are ended, since they would wait for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from llm_repair.core.errors import RepairError, StepCancelled, WorkerLost
from llm_repair.core.execution import StepContext, StepOutput, Usage
from llm_repair.core.results import output_from_json
from llm_repair.rpc.errors import error_from_json

_LOOK_EVERY_S: Final = 0.2
# A rank that loses another one often says so before that one's end is seen, or its reason heard.
_REASON_GRACE_S: Final = 2.0

Command = Callable[[int], Sequence[str]]
"""From the descriptor that a worker is to write its events to, to its command line."""


class RankWorkers:
    """The ranks of one step; a context that ends them when it is left."""

    def __init__(self, command: Command, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Starts one worker per job, the first one's rank being 0."""
        self._news: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()
        self._ended: dict[int, dict[str, Any]] = {}
        self._usage: dict[int, Usage] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._defect: RepairError | None = None
        """What a rank failed by without a reason of its own: a defect, or how a library puts that another is gone."""
        self._patience_ends = math.inf
        try:
            for job in jobs:
                self._start(command, job)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def usage(self) -> Usage:
        """What all ranks have consumed, as far as heard; processor seconds only of those that have not been reaped."""
        seen = list(self._usage.items())
        return Usage(
            cpu_s=sum(usage.cpu_s for rank, usage in seen if self._processes[rank].returncode is None),
            accelerator_s=sum(usage.accelerator_s for _, usage in seen),
            peak_memory_bytes=sum(usage.peak_memory_bytes for _, usage in seen),
            tokens=sum(usage.tokens for _, usage in seen),
        )

    def output(self, context: StepContext) -> StepOutput:
        """Waits for the end of all ranks, handing on what rank 0 reports, and returns its output.

        Raises:
          WorkerLost: a rank died.
          StepCancelled: the context says so, and then rank 0.
          RepairError: what the first rank to fail raised.
        """
        is_told = False
        while len(self._ended) < len(self._processes) and time.monotonic() < self._patience_ends:
            if not is_told and _is_cancelled(context):
                is_told = True
                self._tell_all({"cancel": context.key})
            with contextlib.suppress(queue.Empty):
                self._hear(*self._news.get(timeout=_LOOK_EVERY_S), context)
        if self._defect:
            raise self._defect
        ended = self._ended[0]
        if "error" in ended:
            raise error_from_json(ended["error"])
        return output_from_json(ended["output"])

    def _start(self, command: Command, job: Mapping[str, Any]) -> None:
        read_fd, write_fd = os.pipe()
        try:
            process = subprocess.Popen(command(write_fd), stdin=subprocess.PIPE, pass_fds=(write_fd,))
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        rank = len(self._processes)
        self._processes.append(process)
        threading.Thread(target=self._read, args=(rank, read_fd), daemon=True).start()
        self._tell(process, job)

    def _read(self, rank: int, fd: int) -> None:
        with os.fdopen(fd, "rb") as events:
            for line in events:
                self._news.put((rank, json.loads(line)))
        self._news.put((rank, None))

    def _hear(self, rank: int, event: dict[str, Any] | None, context: StepContext) -> None:
        if event is None:
            if rank not in self._ended:
                raise self._loss(rank)
        elif "ended" in event:
            self._usage[rank] = Usage(**event["usage"])
            self._ended[rank] = event["ended"]
            if "error" in event["ended"]:
                self._fail(error_from_json(event["ended"]["error"]))
        elif "heartbeat" in event:
            self._usage[rank] = Usage(**event["heartbeat"])
        elif rank == 0 and "progress" in event:
            told = dict(event["progress"])
            context.progress(told.pop("done"), told.pop("total"), told.pop("unit"), **told)
        elif rank == 0 and "note" in event:
            context.note(event["note"]["phrase"], **event["note"]["fields"])

    def _fail(self, error: RepairError) -> None:
        if isinstance(error, StepCancelled):
            return  # the others stop too, and rank 0 saves what it has before
        if type(error) is not RepairError:
            raise error
        if self._defect is None:
            self._defect, self._patience_ends = error, time.monotonic() + _REASON_GRACE_S

    def _loss(self, rank: int) -> WorkerLost:
        code, ranks = self._processes[rank].wait(), len(self._processes)
        return WorkerLost(f"rank {rank} of {ranks} ended with {code} before the step did", rank=rank, exit=code)

    def _tell_all(self, message: Mapping[str, Any]) -> None:
        for process in self._processes:
            self._tell(process, message)

    def _tell(self, process: subprocess.Popen[bytes], message: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is seen where its events end
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()

    def _end(self) -> None:
        """Ends what has not ended, and reaps all: their processor seconds are this process's children's from now on."""
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.send_signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()


def _is_cancelled(context: StepContext) -> bool:
    try:
        context.raise_if_cancelled()
    except StepCancelled:
        return True
    return False
