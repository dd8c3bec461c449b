"""Runs the four services of an embedded stack as child processes and keeps them running.

`python -m llm_repair.cli.supervisor --home FOLDER --idle-exit-s 600` is what the command line starts in the
background; `llm-repair up` runs the same in the foreground. Nothing of a service is imported here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_repair.cli.exits import EmbeddedError, Exit
from llm_repair.cli.health import is_serving
from llm_repair.cli.home import SERVICES, Home, RunState
from llm_repair.client import RepairClient, RepairClientError
from llm_repair.v1 import coordinator_pb2 as pb

_log = logging.getLogger(__name__)

MODULES: Final[Mapping[str, str]] = {name: f"llm_repair.{name}" for name in SERVICES}
_RPC_SERVICES: Final[Mapping[str, str]] = {
    "coordinator": "llm_repair.v1.RepairService",
    "selection": "llm_repair.v1.SelectionService",
    "trainer": "llm_repair.v1.TrainerService",
    "evaluation": "llm_repair.v1.EvaluationService",
}
_FIRST_PAUSE_S: Final = 0.2
_LARGEST_PAUSE_S: Final = 5.0
_STEADY_S: Final = 30.0
"""A service that lived so long starts again with the shortest pause."""
_GRACE_S: Final = 10.0
_POLL_S: Final = 0.2
LIVE_STATES: Final = (
    pb.REPAIR_STATE_PENDING,
    pb.REPAIR_STATE_RUNNING,
    pb.REPAIR_STATE_PAUSING,
    pb.REPAIR_STATE_CANCELLING,
)


@dataclass
class Service:
    """One child process, started again whenever it ends."""

    name: str
    module: str
    address: str
    pid: int = 0
    restarts: int = 0
    is_healthy: bool = False


class Supervisor:
    """All services of one stack."""

    def __init__(self, home: Home, allowed_roots: Sequence[Path], *, modules: Mapping[str, str] = MODULES) -> None:
        """Writes the configuration; the caller holds the home.

        Args:
          home: Where everything lies.
          allowed_roots: Folders that `file:` references may lie under.
          modules: By service, what to run as `python -m MODULE --config FILE`.
        """
        self._home = home
        addresses = home.write_config(allowed_roots)
        self.services = [Service(name, modules[name], addresses[name]) for name in SERVICES]
        self.address = addresses["coordinator"]
        self._was_ready = False
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Asks `run` to end."""
        self._stop.set()

    async def run(self, *, idle_exit_s: float | None = None, on_change: Callable[[], None] = lambda: None) -> None:
        """Runs until `stop`, a signal, or so many seconds without a live repair or a user.

        Args:
          idle_exit_s: None for never.
          on_change: Called when a service starts, ends or becomes healthy.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(self._keep(service, on_change)) for service in self.services
        ]
        tasks.append(asyncio.create_task(self._watch_health(on_change)))
        if idle_exit_s is not None:
            tasks.append(asyncio.create_task(self._stop_when_idle(idle_exit_s)))
        tasks.append(asyncio.create_task(self._stop.wait()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._home.run_file.unlink(missing_ok=True)
        for task in done:
            task.result()  # A defect of a task ends the stack and is shown, instead of leaving half of it.

    async def _keep(self, service: Service, on_change: Callable[[], None]) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            async with self._process(service) as process:
                service.pid = process.pid
                self._tell(on_change)
                code = await process.wait()
            service.pid, service.is_healthy = 0, False
            service.restarts += 1
            if time.monotonic() - started > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            _log.warning("%s ended with %s; starting it again in %.1f s", service.name, code, pause_s)
            self._tell(on_change)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LARGEST_PAUSE_S)

    @contextlib.asynccontextmanager
    async def _process(self, service: Service) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Starts a service and, however this ends, leaves no process behind."""
        command = [sys.executable, "-P", "-m", "llm_repair.cli.tether", str(os.getpid()), service.module]
        with _appending(self._home.logs / f"{service.name}.log") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--config",
                str(self._home.config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home.root,
                # A Ctrl-C in the terminal is for the supervisor, which then ends its services in order.
                start_new_session=True,
            )
        try:
            yield process
        finally:
            await _end(process)

    async def _watch_health(self, on_change: Callable[[], None]) -> None:
        while True:
            for service in self.services:
                is_healthy = service.pid != 0 and await is_serving(service.address, _RPC_SERVICES[service.name])
                if is_healthy != service.is_healthy:
                    service.is_healthy = is_healthy
                    self._tell(on_change)
            await asyncio.sleep(_POLL_S if not self._was_ready else 2.0)

    def _tell(self, on_change: Callable[[], None]) -> None:
        self._was_ready = self._was_ready or all(service.is_healthy for service in self.services)
        services = {
            each.name: {"pid": each.pid, "address": each.address, "restarts": each.restarts} for each in self.services
        }
        self._home.write_run(RunState(self.address, os.getpid(), self._was_ready, services))
        on_change()

    async def _stop_when_idle(self, idle_exit_s: float) -> None:
        busy_at = time.time()
        while time.time() - max(busy_at, self._home.last_used()) < idle_exit_s:
            await asyncio.sleep(min(15.0, idle_exit_s / 4))
            if await self._has_live_repairs():
                busy_at = time.time()
        _log.info("nothing to do for %.0f s; ending", idle_exit_s)
        self.stop()
        await asyncio.Event().wait()

    async def _has_live_repairs(self) -> bool:
        async with RepairClient(self.address, token=self._home.token()) as client:
            try:
                async for _ in client.list_repairs(states=LIVE_STATES, page_size=1):
                    return True
            except RepairClientError as error:
                _log.warning("the coordinator does not say what it does: %s", error)
                return True  # Not known to be idle.
        return False


def require_services() -> None:
    """Raises with the extra to install where the services are not there."""
    for module in ("grpc_health", "llm_repair.coordinator", "torch"):
        if importlib.util.find_spec(module) is None:
            raise EmbeddedError(
                f"the embedded stack needs {module}: install llm-repair[demo], or give --server HOST:PORT"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs in the background until stopped or idle; says so and ends well if the stack runs already."""
    parser = argparse.ArgumentParser(prog="llm_repair.cli.supervisor", description=main.__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of the stack")
    parser.add_argument("--idle-exit-s", type=float, default=600.0, help="ends after so long without work or use")
    parser.add_argument("--allow-root", type=Path, action="append", default=[], help="folder file: may read")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    home = Home(options.home)
    home.prepare()
    with home.held() as is_ours:
        if not is_ours:
            _log.info("the stack at %s runs already", home.root)
            return Exit.PASS
        asyncio.run(_run(home, options.allow_root, options.idle_exit_s))
    return Exit.PASS


async def _run(home: Home, allowed_roots: Sequence[Path], idle_exit_s: float) -> None:
    await Supervisor(home, allowed_roots).run(idle_exit_s=idle_exit_s)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@contextlib.contextmanager
def _appending(path: Path) -> Generator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield file
    finally:
        os.close(file)


if __name__ == "__main__":
    sys.exit(main())
