"""Steps that run as several processes: they are fed, heard and counted as one, and end together."""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, RepairError, StepCancelled, WorkerLost
from llm_repair.core.steps import ReportStep, step_key
from llm_repair.rpc.configuration import Configuration
from llm_repair.rpc.executions import Executions
from llm_repair.rpc.worker_pool import WorkerPool
from llm_repair.v1 import execution_pb2, types_pb2

PROMPTLY_S = 20
"""Far more than it takes, far less than the ten minutes that the ranks would wait."""


@pytest.fixture
async def executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Executions]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    configuration = Configuration(
        {
            "store": {"url": f"file://{tmp_path}/store"},
            "auth": {"insecure": True},
            "workers": {"threads": 5, "heartbeat_s": 0.3},
            "evaluation": {"listen": "127.0.0.1:1"},
        }
    )
    settings = configuration.service("evaluation", configuration.section("evaluation"))
    store = ArtifactStore(settings.store.url)
    made = Executions(store, WorkerPool(settings), {"report": "rank_code:run"}, CollectorRegistry(), heartbeat_s=0.3)
    yield made
    await made.close()


async def events_of(executions: Executions, behaviour: str, folder: Path) -> list[execution_pb2.ExecutionEvent]:
    """Runs a step of its own behaviour; a folder takes one step."""
    return [event async for event in executions.execute(ReportStep(f"{behaviour}:{folder}"))]


def about(folder: Path) -> list[Mapping[str, Any]]:
    """Returns what both ranks left of themselves."""
    return [json.loads((folder / f"rank-{rank}").read_text()) for rank in range(2)]


def left_over(folder: Path) -> list[Path]:
    """Returns what is left of both ranks: processes, and folders that they worked in."""
    found = [path for rank in about(folder) for path in (Path(f"/proc/{rank['pid']}"), Path(rank["workdir"]))]
    return [path for path in found if path.exists()]


async def assert_no_process_left(folder: Path) -> None:
    """Checks that both processes end; their folders stay where nobody was left to remove them."""
    async with asyncio.timeout(PROMPTLY_S):
        while any(path.parent == Path("/proc") for path in left_over(folder)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


async def test_ranks_are_heard_by_the_first_and_counted_together(executions: Executions, tmp_path: Path) -> None:
    """Each uses a processor for 0.4 s, and says that it read 10 tokens and held an accelerator for 1.5 s."""
    events = await events_of(executions, "work", tmp_path)

    notes = [event.note.phrase for event in events if event.WhichOneof("event") == "note"]
    shown = [dict(event.progress.measures) for event in events if event.WhichOneof("event") == "progress"]
    result = events[-1].committed
    assert notes == ["begun", "done"]
    assert shown == [{"loss": 0.5}]
    assert ArtifactStore(f"file://{tmp_path}/store").get_bytes(result.outputs["report"].digest) == b"rank 0"
    assert result.usage.tokens == 20
    assert result.usage.accelerator_s == 3.0
    assert result.usage.cpu_s > 0.8


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith("VmRSS:")).split()[1])


async def test_what_ranks_consume_is_told_while_they_run(executions: Executions, tmp_path: Path) -> None:
    """They are idle and consume what it takes to start them, which the worker that started them has no part in."""
    step = ReportStep(f"leave:{tmp_path}")
    usage: list[types_pb2.Usage] = []
    resident = 0
    with pytest.raises(StepCancelled):
        async for event in executions.execute(step):
            if event.WhichOneof("event") != "heartbeat" or not (tmp_path / "rank-1").exists():
                continue
            usage.append(event.heartbeat.usage)
            if len(usage) == 4:
                resident = sum(resident_bytes(rank["pid"]) for rank in about(tmp_path))
                executions.cancel(step_key(step))

    assert usage[3].cpu_s > 0.2
    assert usage[3].peak_memory_bytes > resident
    assert all(before.cpu_s <= after.cpu_s for before, after in itertools.pairwise(usage))


async def test_threads_are_shared_out_and_folders_removed(executions: Executions, tmp_path: Path) -> None:
    """Five threads for two ranks are two for each."""
    await events_of(executions, "work", tmp_path)

    ranks = about(tmp_path)
    assert [rank["threads"] for rank in ranks] == [2, 2]
    assert [rank["ranks"] for rank in ranks] == [2, 2]
    assert len({rank["pid"] for rank in ranks}) == len({rank["workdir"] for rank in ranks}) == 2
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("behaviour", ["die", "stumble over a death"])
async def test_a_rank_that_dies_is_a_lost_worker_and_ends_the_others_at_once(
    behaviour: str, executions: Executions, tmp_path: Path
) -> None:
    """Also where the other one stumbles over it and says so first."""
    async with asyncio.timeout(PROMPTLY_S):
        with pytest.raises(WorkerLost) as lost:
            await events_of(executions, behaviour, tmp_path)

    assert lost.value.metadata == {"rank": "1", "exit": "-9"}
    assert left_over(tmp_path) == []


async def test_a_step_can_be_run_again_after_it_lost_a_rank(executions: Executions, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with pytest.raises(WorkerLost):
        await events_of(executions, "die", tmp_path / "one")

    events = await events_of(executions, "work", tmp_path / "two")

    assert events[-1].WhichOneof("event") == "committed"


@pytest.mark.parametrize("behaviour", ["refuse", "stumble over a refusal"])
async def test_an_error_of_one_rank_is_that_of_the_step_and_ends_the_others(
    behaviour: str, executions: Executions, tmp_path: Path
) -> None:
    """Also where the other one stumbles over it and says so first."""
    async with asyncio.timeout(PROMPTLY_S):
        with pytest.raises(DatasetInvalid) as refused:
            await events_of(executions, behaviour, tmp_path)

    assert refused.value.metadata == {"bad_rows": "3"}
    assert left_over(tmp_path) == []


async def test_a_defect_of_one_rank_is_that_of_the_step_and_ends_the_others(
    executions: Executions, tmp_path: Path
) -> None:
    async with asyncio.timeout(PROMPTLY_S):
        with pytest.raises(RepairError) as failed:
            await events_of(executions, "stumble", tmp_path)

    assert failed.value.reason == "INTERNAL"
    assert "RuntimeError" in failed.value.message
    assert left_over(tmp_path) == []


async def test_a_cancelled_step_gives_its_first_rank_the_time_to_save(executions: Executions, tmp_path: Path) -> None:
    """The other rank is gone a second earlier."""
    step = ReportStep(f"leave:{tmp_path}")

    with pytest.raises(StepCancelled):
        async for event in executions.execute(step):
            if event.WhichOneof("event") == "progress":
                executions.cancel(step_key(step))

    assert (tmp_path / "saved").exists()
    assert left_over(tmp_path) == []


async def test_ranks_die_with_the_worker_that_started_them(executions: Executions, tmp_path: Path) -> None:
    async with asyncio.timeout(PROMPTLY_S):
        with pytest.raises(RepairError) as lost:
            await events_of(executions, "kill the parent", tmp_path)

    assert isinstance(lost.value, WorkerLost)
    await assert_no_process_left(tmp_path)
