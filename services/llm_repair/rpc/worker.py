"""The worker: a child process that runs steps, one after another, until its parent goes.

Started by `rpc.worker_pool` as `python -m llm_repair.rpc.worker`. Jobs come as JSON lines on standard input, events
leave as JSON lines on a pipe of their own, and whatever libraries print goes to standard error. torch is
imported here and nowhere in the parent; a warm worker keeps it, and the last model, between steps.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import importlib
import json
import logging
import math
import os
import queue
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import RepairError, StepCancelled
from llm_repair.core.execution import Json, RankPlace, StepOutput, Usage
from llm_repair.core.results import output_to_json
from llm_repair.rpc.errors import error_to_json, new_error_id
from llm_repair.rpc.provenance import machine_provenance
from llm_repair.rpc.rank_workers import RankWorkers
from llm_repair.rpc.step_messages import parse_step

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY_S = 1.0

StepFunction = Callable[..., StepOutput]
"""Of the step, the store and its context; of several ranks, also its `RankPlace`."""


def main() -> None:
    """Runs jobs from standard input until it closes."""
    options = _options()
    _die_with(options.parent)
    events = _Events(options.events_fd)
    jobs = _Inbox()
    store = ArtifactStore(options.store, project=options.project, cache_dir=options.cache_dir)
    threading.Thread(target=jobs.read_forever, daemon=True).start()
    while True:
        _Attempt(jobs.next(), options, store, events, jobs).run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--heartbeat-s", type=float, required=True)
    parser.add_argument("--allowed-root", type=Path, action="append", default=[])
    parser.add_argument("--allowed-scheme", action="append", default=[])
    return parser.parse_args()


def _die_with(parent: int) -> None:
    """Makes the kernel end this process with its parent, and checks that the parent is still there."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent ended before the worker had started")


class _Events:
    """Writes events to the parent, one JSON line each, from any thread."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.fdopen(fd, "wb", buffering=0)
        self._lock = threading.Lock()

    def send(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            self._pipe.write(line)


class _Inbox:
    """Reads the parent's lines: jobs are queued, a cancel sets a flag, and the end of input ends the process."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self.cancelled = threading.Event()
        """Whether the job given last is to stop."""

    def read_forever(self) -> None:
        # Only this thread says what is cancelled, in the order of the lines: a cancel may come before the job has
        # been taken up, and one that came after its job's end must not reach the next job, of whatever key.
        last_key = ""
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "cancel" not in message:
                last_key = message["key"]
                self.cancelled.clear()
                self._jobs.put(message)
            elif message["cancel"] == last_key:
                self.cancelled.set()
        # The parent is gone or wants no more: a step half done must not go on unseen.
        os._exit(0)

    def next(self) -> dict[str, Any]:
        return self._jobs.get()


class _Attempt:
    """One attempt at one step; also the `StepContext` that its code sees."""

    def __init__(
        self, job: dict[str, Any], options: argparse.Namespace, store: ArtifactStore, events: _Events, inbox: _Inbox
    ) -> None:
        self._job = job
        self._store = store
        self._events = events
        self._inbox = inbox
        self._heartbeat_s: float = options.heartbeat_s
        self._tokens = 0
        self._accelerator_s = 0.0
        self._progress_sent_at = 0.0
        self._stage = ""
        self._heard = False
        self._ended = threading.Event()
        self.key: str = job["key"]
        self.attempt: str = job["attempt"]
        self.threads: int = options.threads
        self.allowed_roots: tuple[Path, ...] = tuple(options.allowed_root)
        self.allowed_schemes: tuple[str, ...] = tuple(options.allowed_scheme)
        # A rank's is inside its parent's, which removes it if the rank cannot.
        self.workdir = Path(tempfile.mkdtemp(prefix=f"llm-repair-{self.key[:8]}-", dir=job.get("workdirs")))
        self._ranks: list[RankWorkers] = []

    def run(self) -> None:
        """Runs the step and sends its outcome."""
        _reset_peak_memory()
        # A rank was started for this step alone, so what its start took is the step's.
        self._cpu_start = 0.0 if "place" in self._job else _cpu_seconds()
        self._wall_start = time.monotonic()
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        try:
            outcome = {"output": output_to_json(self._run_step()), "provenance": machine_provenance(self.threads)}
            json.dumps(outcome, allow_nan=False)  # a NaN is a defect of the step, not the death of its worker
        except RepairError as error:
            outcome = {"error": error_to_json(error)}
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect ends the step, not the service; the log has the details
            error_id = new_error_id()
            # Where and of what type, but not its message: that may quote a row, and rows are never logged.
            frames = "".join(traceback.format_tb(error.__traceback__))
            sys.stderr.write(
                f"step {self.key} failed by a defect, error_id {error_id}\n{frames}{type(error).__name__}\n"
            )
            defect = RepairError(
                f"{type(error).__name__} in step code; the service's log has the details under {error_id}.",
                error_id=error_id,
            )
            outcome = {"error": error_to_json(defect)}
        finally:
            self._ended.set()
            shutil.rmtree(self.workdir, ignore_errors=True)
        self._events.send({"key": self.key, "ended": outcome, "usage": self._usage()})

    def _run_step(self) -> StepOutput:
        module, _, function = self._job["entry"].partition(":")
        run: StepFunction = getattr(importlib.import_module(module), function)
        step = parse_step(self._job["kind"], base64.b64decode(self._job["step"]))
        if "place" not in self._job:
            return run(step, self._store, self)
        rank, ranks, meeting = self._job["place"]
        return run(step, self._store, self, RankPlace(rank, ranks, Path(meeting)))

    # What step code may ask for (core.execution.StepContext).

    def progress(
        self, done: float, total: float, unit: str, *, stage: str = "", measures: Mapping[str, float] | None = None
    ) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._progress_sent_at < _PROGRESS_EVERY_S and done < total:
            return
        self._progress_sent_at, self._stage = now, stage
        finite = {name: float(value) for name, value in (measures or {}).items() if math.isfinite(value)}
        told = {"done": done, "total": total, "unit": unit, "stage": stage, "measures": finite}
        self._events.send({"key": self.key, "progress": told})

    def note(self, phrase: str, **fields: Json) -> None:
        self._events.send({"key": self.key, "note": {"phrase": phrase, "fields": fields}})

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        self._tokens += tokens
        self._accelerator_s += accelerator_s

    def raise_if_cancelled(self) -> None:
        if self._inbox.cancelled.is_set():
            if not self._heard:
                self._heard = True
                self._events.send({"key": self.key, "stopping": True})
            raise StepCancelled

    def run_ranks(self, entry: str, ranks: int) -> StepOutput:
        meeting = str(self.workdir / f"meeting-{len(self._ranks)}")
        job = {**self._job, "entry": entry, "workdirs": str(self.workdir)}
        command = partial(_rank_command, threads=max(1, self.threads // ranks))
        with RankWorkers(command, [{**job, "place": [rank, ranks, meeting]} for rank in range(ranks)]) as running:
            self._ranks.append(running)
            return running.output(self)

    def _usage(self) -> dict[str, Any]:
        own = Usage(
            wall_s=time.monotonic() - self._wall_start,
            cpu_s=_cpu_seconds() - self._cpu_start,
            accelerator_s=self._accelerator_s,
            tokens=self._tokens,
        )
        used = sum((ranks.usage for ranks in self._ranks), own)
        # Ranks hold theirs beside this process's own, and after one another.
        peak = _peak_memory_bytes() + used.peak_memory_bytes
        return asdict(replace(used, peak_memory_bytes=peak))

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            self._events.send({"key": self.key, "heartbeat": self._usage()})


def _rank_command(events_fd: int, *, threads: int) -> list[str]:
    """Returns the command line of a worker like this one; of an option given twice, the second value counts."""
    own = [f"--events-fd={events_fd}", f"--parent={os.getpid()}", f"--threads={threads}"]
    return [sys.executable, "-m", "llm_repair.rpc.worker", *sys.argv[1:], *own]


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _reset_peak_memory() -> None:
    # A warm worker's peak would otherwise be that of its largest step so far.
    with contextlib.suppress(OSError):  # some sandboxes do not offer it
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    # Libraries print; events have their own pipe.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    main()
