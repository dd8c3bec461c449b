"""Starts and stops the four services as real processes on loopback, for tests that end only their own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICES = ("coordinator", "selection", "trainer", "evaluation")
FULL_NAMES = {
    "coordinator": "llm_repair.v1.RepairService",
    "selection": "llm_repair.v1.SelectionService",
    "trainer": "llm_repair.v1.TrainerService",
    "evaluation": "llm_repair.v1.EvaluationService",
}


class Stack:
    """Four services with their own store, database and token."""

    def __init__(self, home: Path, roots: list[Path], *, store: Path | None = None) -> None:
        self.home = home
        self.store = store or home / "artifacts"
        self.token = secrets.token_hex(32)
        self.ports = {name: _free_port() for name in SERVICES}
        self.metrics_ports = {name: _free_port() for name in SERVICES}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        home.mkdir(parents=True, exist_ok=True)
        token_file = home / "token"
        token_file.write_text(self.token)
        token_file.chmod(0o600)
        (home / "config.toml").write_text(self._configuration(roots, token_file))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['coordinator']}"

    def start(self, *names: str) -> None:
        for name in names or SERVICES:
            log = (self.home / f"{name}.log").open("ab")
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"llm_repair.{name}", "--config", str(self.home / "config.toml")],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            log.close()
        for name in names or SERVICES:
            self._wait_until_serving(name)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """Ends a service as a power cut would."""
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-4000:]}" for path in sorted(self.home.glob("*.log")))

    def _configuration(self, roots: list[Path], token_file: Path) -> str:
        tables = [
            f'[store]\nurl = "file://{self.store}"',
            f'[auth]\ntoken_file = "{token_file}"',
            f"[references]\nallowed_roots = {[str(root) for root in roots]!r}".replace("'", '"'),
            "[workers]\nthreads = 1\nheartbeat_s = 1.0",
        ]
        for name in SERVICES:
            lines = [
                f"[{name}]",
                f'listen = "127.0.0.1:{self.ports[name]}"',
                f'metrics_listen = "127.0.0.1:{self.metrics_ports[name]}"',
                "drain_s = 1.0",
            ]
            if name == "coordinator":
                lines += [f'database = "{self.home}/jobs.sqlite3"', "lease_s = 3.0"]
            tables.append("\n".join(lines))
        return "\n\n".join(tables) + "\n"

    def _wait_until_serving(self, name: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < deadline:
                if self._processes[name].poll() is not None:
                    break
                try:
                    request = health_pb2.HealthCheckRequest(service=FULL_NAMES[name])
                    if stub.Check(request, timeout=1).status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass
                time.sleep(0.05)
        raise AssertionError(f"{name} did not start:\n{self.logs()}")


@contextmanager
def running_stack(home: Path, roots: list[Path], **options: Path) -> Iterator[Stack]:
    """Yields a stack that serves, and stops it."""
    stack = Stack(home, roots, **options)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
