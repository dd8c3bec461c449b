"""The supervisor with real processes: small servers stand in for the four services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from llm_repair.cli import embedded
from llm_repair.cli.exits import EmbeddedError
from llm_repair.cli.home import SERVICES, Home

STAND_IN = """
import argparse, os, signal, sys, tomllib
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from llm_repair.v1 import coordinator_pb2 as pb, coordinator_pb2_grpc

class Repairs(coordinator_pb2_grpc.RepairServiceServicer):
    def ListRepairs(self, request, context):
        busy = os.path.exists(os.path.join(os.path.dirname(options.config), "busy"))
        return pb.ListRepairsResponse(repairs=[pb.Repair(name="r")] if busy else [])

parser = argparse.ArgumentParser()
parser.add_argument("--config")
options = parser.parse_args()
section = tomllib.load(open(options.config, "rb"))[__spec__.name.removeprefix("stand_in_")]
server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
servicer = health.HealthServicer()
for name in ("Repair", "Selection", "Trainer", "Evaluation"):
    servicer.set(f"llm_repair.v1.{name}Service", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
coordinator_pb2_grpc.add_RepairServiceServicer_to_server(Repairs(), server)
server.add_insecure_port(section["listen"])
server.start()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.pause()
"""

DRIVER = """
import asyncio, logging, sys
from pathlib import Path
from llm_repair.cli.home import SERVICES, Home
from llm_repair.cli.supervisor import Supervisor

async def main():
    modules = {name: f"stand_in_{name}" for name in SERVICES}
    await Supervisor(home, [], modules=modules).run(idle_exit_s=float(sys.argv[2]) or None)

logging.basicConfig(level=logging.INFO)
home = Home(Path(sys.argv[1]))
home.prepare()
with home.held() as is_ours:
    assert is_ours
    asyncio.run(main())
"""


@pytest.fixture
def home(tmp_path) -> Home:
    for name in SERVICES:
        (tmp_path / f"stand_in_{name}.py").write_text(STAND_IN)
    return Home(tmp_path / "home")


@contextlib.asynccontextmanager
async def supervised(home: Home, tmp_path: Path, idle_exit_s: float = 0):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        DRIVER,
        str(home.root),
        str(idle_exit_s),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until(condition, seconds: float = 15.0):
    give_up_at = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up_at, "it did not come"
        await asyncio.sleep(0.02)
    return value


async def ready(home: Home):
    return await until(lambda: (state := home.running()) and state.ready and state)


def lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_starts_all_services_and_ends_them_with_it(home, tmp_path):
    async with supervised(home, tmp_path) as process:
        state = await ready(home)
        pids = [service["pid"] for service in state.services.values()]
        assert set(state.services) == set(SERVICES)
        assert state.pid == process.pid
        assert state.address == state.services["coordinator"]["address"]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert not any(lives(pid) for pid in pids)
    assert not home.run_file.exists()
    assert home.running() is None


async def test_a_killed_service_comes_back_at_the_same_address(home, tmp_path):
    async with supervised(home, tmp_path):
        before = (await ready(home)).services["trainer"]
        os.kill(before["pid"], signal.SIGKILL)

        after = await until(lambda: (now := home.running().services["trainer"])["restarts"] == 1 and now["pid"] and now)

        assert after["pid"] != before["pid"]
        assert after["address"] == before["address"]


async def test_a_killed_supervisor_takes_its_services_along(home, tmp_path):
    async with supervised(home, tmp_path) as process:
        pids = [service["pid"] for service in (await ready(home)).services.values()]
        process.kill()
        await process.wait()

        await until(lambda: not any(lives(pid) for pid in pids), 5)

    assert home.running() is None


async def test_ends_by_itself_when_nothing_is_to_do_but_not_while_a_repair_lives(home, tmp_path):
    home.prepare()
    (home.root / "busy").touch()
    async with supervised(home, tmp_path, idle_exit_s=0.5) as process:
        await ready(home)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 1.5)
        (home.root / "busy").unlink()

        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_finds_the_running_stack_and_stops_it(home, tmp_path):
    async with supervised(home, tmp_path) as process:
        await ready(home)
        state = await embedded.ensure(home, [])
        assert state.pid == process.pid
        assert await embedded.stop(home)
        assert await process.wait() == 0

    assert not await embedded.stop(home)


async def test_a_service_that_never_comes_up_ends_the_start_and_names_its_log(home, tmp_path):
    (tmp_path / "stand_in_selection.py").write_text("raise SystemExit('broken')")
    async with supervised(home, tmp_path):
        await until(home.running)

        with pytest.raises(EmbeddedError, match=r"selection\.log"):
            await embedded.ensure(home, [])

    assert "broken" in (home.logs / "selection.log").read_text()
