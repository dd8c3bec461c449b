"""Finds the embedded stack of this user, or starts one in the background; ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llm_repair.cli.exits import EmbeddedError
from llm_repair.cli.home import Home, RunState
from llm_repair.cli.supervisor import require_services

IDLE_EXIT_S: Final = 600.0
_START_S: Final = 120.0
_STOP_S: Final = 30.0
_POLL_S: Final = 0.1
_HOPELESS_RESTARTS: Final = 3
"""A service that ended so often before all were healthy once will not come."""


async def ensure(home: Home, allowed_roots: Sequence[Path]) -> RunState:
    """Returns the running stack; starts one and waits until it is healthy if there is none.

    Raises:
      EmbeddedError: it does not start; the message names the log to read.
    """
    home.prepare()
    home.touch()
    state, pid = home.running(), None
    if state is None:
        require_services()
        pid = _start(home, allowed_roots)
    give_up_at = time.monotonic() + _START_S
    while state is None or not state.ready:
        await asyncio.sleep(_POLL_S)
        has_ended = pid is not None and _has_ended(pid)
        state = home.running()
        if has_ended and not home.is_held():
            raise EmbeddedError(f"the embedded stack ended while starting; see {home.logs / 'supervisor.log'}")
        failing = _failing_service(state)
        if failing or time.monotonic() > give_up_at:
            await stop(home)
            log = home.logs / f"{failing or 'supervisor'}.log"
            raise EmbeddedError(f"the embedded stack does not start; see {log}")
    return state


async def stop(home: Home) -> bool:
    """Ends the stack and returns whether one was running; unfinished repairs go on at the next start."""
    state = home.running()
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    give_up_at = time.monotonic() + _STOP_S
    while home.running() is not None:
        if time.monotonic() > give_up_at:
            os.kill(state.pid, signal.SIGKILL)
            give_up_at += _STOP_S
        await asyncio.sleep(_POLL_S)
    return True


def _start(home: Home, allowed_roots: Sequence[Path]) -> int:
    """Starts a supervisor that outlives this process and its terminal; returns its process id."""
    command = [sys.executable, "-P", "-m", "llm_repair.cli.supervisor", "--home", str(home.root)]
    command += ["--idle-exit-s", str(IDLE_EXIT_S)]
    for root in allowed_roots:
        command += ["--allow-root", str(root)]
    log = home.logs / "supervisor.log"
    return os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def _failing_service(state: RunState | None) -> str | None:
    if state is None or state.ready:
        return None
    return next((name for name, each in state.services.items() if each["restarts"] >= _HOPELESS_RESTARTS), None)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True  # Collected before.
