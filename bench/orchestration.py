"""What the four services cost besides the work: memory, time without work, and what a second repair reuses.

Four real services on loopback repair a tiny model twice, the second time by another strategy; see `tests/stack.py`.

- `orchestration.rss_mb`: resident memory of every service's RPC process after both repairs; the size is in MB of 10^6
  bytes, seconds are not defined. The limit is an idle interpreter that has imported gRPC and NumPy; ratios are to the
  coordinator. The figure to reach is 150 MB each; `value_agrees` says whether it was.
- `orchestration.overhead`: of the first repair, by its report; the size is its number of steps, seconds are those in
  which no execution was starting or running. The limit is the time in which one was, so 1 - `limit_share` is the share
  of the wall time that orchestration took. A tiny repair shows the absolute cost: its share is far above that of a real
  one, whose steps take minutes.
- `orchestration.reuse`: both repairs from request to end; the size is the number of steps that were executed, not
  reused. Ratios are to the first. `value_agrees`: the second measured the base model as the first did.

Quick: one set of services instead of three.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.models import ROOT
from llm_repair.client import SyncRepairClient
from llm_repair.v1 import coordinator_pb2 as pb

_MB_TO_REACH = 150.0
_FULL_STACKS = 3
_FLOOR = "import grpc.aio, numpy; print('ready', flush=True); input()"


@dataclass(frozen=True)
class Outcome:
    """One repair as the client and its report saw it."""

    seconds: float
    """From request to end."""
    report: dict[str, Any]
    executed: int
    """Steps that were not reused."""

    @property
    def timing(self) -> dict[str, float]:
        """`wall_s` and `execution_s`."""
        return self.report["timing"]

    @property
    def base(self) -> dict[str, Any]:
        """The base model's values by metric id."""
        return {metric["id"]: metric["base"] and metric["base"]["value"] for metric in self.report["metrics"]}


@dataclass(frozen=True)
class Stay:
    """What one set of services showed."""

    first: Outcome
    second: Outcome
    rss_mb: dict[str, float]
    """By service."""


def run(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of memory, overhead and reuse."""
    with tempfile.TemporaryDirectory() as scratch:
        stays = [_stay(Path(scratch) / f"stack-{number}") for number in range(1 if quick else _FULL_STACKS)]
    yield from _memory(stays)
    yield _overhead(stays)
    yield from _reuse(stays)


def _stay(home: Path) -> Stay:
    services, tiny_spec = _of_tests("stack"), _of_tests("acceptance_spec").tiny_spec
    assets = _of_tests("tiny_assets").make_tiny_assets(home / "assets")
    other: pb.RepairSpec = tiny_spec(assets)
    other.strategy.saps.boundary_fraction = 0.5
    with (
        services.running_stack(home, [assets.root]) as stack,
        SyncRepairClient(stack.address, token=stack.token) as client,
    ):
        first = _repaired(client, tiny_spec(assets), home / "first")
        second = _repaired(client, other, home / "second")
        return Stay(first, second, {name: _rss_mb(stack.pid(name)) for name in services.SERVICES})


def _of_tests(module: str) -> Any:
    """Returns a module of the tests: what starts services and makes models there does it here too."""
    folder = str(ROOT / "tests")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(module)


def _repaired(client: SyncRepairClient, spec: pb.RepairSpec, folder: Path) -> Outcome:
    start = time.perf_counter()
    handle = client.create_repair(spec)
    repair = handle.result()
    seconds = time.perf_counter() - start
    report = json.loads((handle.report(folder) / "report.json").read_text(encoding="utf-8"))
    return Outcome(seconds, report, sum(not step.reused for step in repair.steps))


def _rss_mb(pid: int) -> float:
    """Returns the resident memory of a process, without its children."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} has no resident memory")


def _floor_mb() -> float:
    with subprocess.Popen([sys.executable, "-c", _FLOOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = _rss_mb(process.pid)
        process.communicate(b"\n")
    return found


def _memory(stays: Sequence[Stay]) -> Iterator[Line]:
    floor = _floor_mb()
    medians = {name: statistics.median(stay.rss_mb[name] for stay in stays) for name in stays[0].rss_mb}
    named = {**medians, "idle gRPC interpreter (limit)": floor}
    for name, size in named.items():
        yield Line(
            bench="orchestration.rss_mb",
            contender=name,
            size=size,
            ratio_to_ours=size / medians["coordinator"],
            limit_share=floor / size,
            value_agrees=size < _MB_TO_REACH if name in medians else None,
        )


def _overhead(stays: Sequence[Stay]) -> Line:
    timings = [stay.first.timing for stay in stays]
    return Line(
        bench="orchestration.overhead",
        contender="ours",
        size=len(stays[0].first.report["steps"]),
        seconds=statistics.median(timing["wall_s"] - timing["execution_s"] for timing in timings),
        ratio_to_ours=1.0,
        limit_share=statistics.median(timing["execution_s"] / timing["wall_s"] for timing in timings),
    )


def _reuse(stays: Sequence[Stay]) -> Iterator[Line]:
    yield Line(
        bench="orchestration.reuse",
        contender="first repair",
        size=stays[0].first.executed,
        seconds=statistics.median(stay.first.seconds for stay in stays),
        ratio_to_ours=1.0,
    )
    yield Line(
        bench="orchestration.reuse",
        contender="second, by another strategy",
        size=stays[0].second.executed,
        seconds=statistics.median(stay.second.seconds for stay in stays),
        ratio_to_ours=statistics.median(stay.second.seconds / stay.first.seconds for stay in stays),
        value_agrees=all(stay.first.base == stay.second.base for stay in stays),
    )


if __name__ == "__main__":
    area.main(__doc__, run)
