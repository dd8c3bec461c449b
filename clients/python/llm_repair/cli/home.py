"""The folder of an embedded stack: what lies where, who holds it, and the configuration of its services."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
import tomllib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SERVICES: Final = ("coordinator", "selection", "trainer", "evaluation")
_LOCK_TRIES: Final = 10
_LOCK_PAUSE_S: Final = 0.05


@dataclass(frozen=True)
class RunState:
    """What a running stack says about itself in `run.json`."""

    address: str
    """`host:port` of the coordinator."""
    pid: int
    """Process of the supervisor."""
    ready: bool
    """Whether all services have been healthy once."""
    services: Mapping[str, Mapping[str, Any]]
    """By name: `pid`, `address`, `restarts`."""


class Home:
    """Paths and files of one embedded stack; made on first use, readable by their owner only."""

    def __init__(self, root: Path) -> None:
        """Names the folder; nothing is made yet."""
        self.root = root.expanduser().resolve()
        self.config = self.root / "config.toml"
        self.token_file = self.root / "token"
        self.run_file = self.root / "run.json"
        self.database = self.root / "jobs.sqlite3"
        self.logs = self.root / "logs"
        self._lock_file = self.root / "lock"
        self._used_file = self.root / "used"

    def prepare(self) -> None:
        """Makes the folders and the token."""
        for folder in (self.root, self.logs, self.root / "artifacts"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            file = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="ascii") as stream:
                stream.write(secrets.token_urlsafe(32))

    def token(self) -> str:
        """Returns the token that guards the stack's listeners."""
        return self.token_file.read_text(encoding="ascii").strip()

    @contextlib.contextmanager
    def held(self) -> Generator[bool]:
        """Holds the stack for this process and yields True, or yields False if another process holds it.

        The lock goes with the process, however it ends, so a crash leaves nothing to clean up.
        """
        # Somebody who only looks holds the lock for a moment; only a supervisor holds it for longer.
        for _ in range(_LOCK_TRIES):
            with self._locked(fcntl.LOCK_EX) as is_ours:
                if is_ours:
                    self.run_file.unlink(missing_ok=True)
                    yield True
                    return
            time.sleep(_LOCK_PAUSE_S)
        yield False

    def is_held(self) -> bool:
        """Whether a supervisor runs."""
        if not self._lock_file.exists():
            return False
        with self._locked(fcntl.LOCK_SH) as is_free:
            return not is_free

    def running(self) -> RunState | None:
        """Returns what the running stack says, or None if none runs or it has not said anything yet."""
        if not self.is_held():
            return None  # What `run.json` says is left over from a supervisor that was killed.
        try:
            content = json.loads(self.run_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return RunState(**{key: content[key] for key in ("address", "pid", "ready", "services")})

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Generator[bool]:
        file = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(file)

    def write_run(self, state: RunState) -> None:
        """Tells others about the running stack; never half a file."""
        aside = self.run_file.with_suffix(".tmp")
        aside.write_text(json.dumps(vars(state)), encoding="utf-8")
        aside.replace(self.run_file)

    def touch(self) -> None:
        """Notes that somebody uses the stack, which keeps it from ending when idle."""
        self._used_file.touch()

    def last_used(self) -> float:
        """Returns when somebody last used the stack, in seconds of the system clock; 0 for never."""
        return self._used_file.stat().st_mtime if self._used_file.exists() else 0.0

    def write_config(self, allowed_roots: Sequence[Path]) -> Mapping[str, str]:
        """Writes `config.toml` and returns the address of each service.

        Addresses stay as they are as long as their ports are free, because unfinished repairs have recorded them;
        earlier allowed roots stay too, because unfinished repairs may refer to files below them.
        """
        before = tomllib.loads(self.config.read_text(encoding="utf-8")) if self.config.exists() else {}
        listens = _addresses(before)
        roots = dict.fromkeys([*map(str, allowed_roots), *before.get("references", {}).get("allowed_roots", [])])
        tables: dict[str, dict[str, Any]] = {"store": {"url": f"file://{self.root / 'artifacts'}"}}
        for name in SERVICES:
            tables[name] = {"listen": listens[name], "metrics_listen": listens[f"{name}.metrics"]}
        tables["coordinator"] |= {"database": str(self.database), "slots": 1}
        tables["auth"] = {"token_file": str(self.token_file)}
        tables["references"] = {"allowed_roots": [root for root in roots if Path(root).is_dir()]}
        tables["workers"] = {"threads": len(os.sched_getaffinity(0)), "heartbeat_s": 2.0}
        aside = self.config.with_suffix(".tmp")
        aside.write_text(_toml(tables), encoding="utf-8")
        aside.replace(self.config)
        return {name: listens[name] for name in SERVICES}


def _addresses(before: Mapping[str, Any]) -> dict[str, str]:
    """Returns an address for each service and its metrics: the earlier ones if all are free, else new ones."""
    names = [*SERVICES, *(f"{name}.metrics" for name in SERVICES)]
    earlier = {
        key: before.get(name, {}).get(field, "")
        for name in SERVICES
        for key, field in ((name, "listen"), (f"{name}.metrics", "metrics_listen"))
    }
    if all(earlier.values()) and _are_free(earlier.values()):
        return earlier
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: f"127.0.0.1:{each.getsockname()[1]}" for name, each in zip(names, sockets, strict=True)}


def _are_free(addresses: Iterable[str]) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            for address in addresses:
                host, _, port = address.rpartition(":")
                stack.enter_context(socket.create_server((host, int(port))))
        except OSError:
            return False
    return True


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    # JSON's strings, numbers and lists of strings are TOML's as well, as long as nothing is escaped beyond the BMP.
    lines: list[str] = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())]
        lines.append("")
    return "\n".join(lines)
