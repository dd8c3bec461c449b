"""`pause`, `resume` and `cancel`: each waits for what it asked for, and says how to go on."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from llm_repair.cli import progress, settling
from llm_repair.client import RepairClient
from llm_repair.v1 import coordinator_pb2 as pb


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(settling, "_POLL_S", 0.05)


async def test_pause_waits_until_the_worker_is_free_and_says_how_to_go_on(run, coordinator):
    name = coordinator.add_repair()

    outcome = await run("pause", "latest")

    assert (outcome.code, outcome.out) == (0, "a1 PAUSED; to go on: llm-repair resume a1\n")
    assert coordinator.repairs[name].state == pb.REPAIR_STATE_PAUSED


async def test_pause_gives_up_waiting_and_says_where_the_repair_is(run, coordinator, monkeypatch):
    coordinator.add_repair()
    monkeypatch.setattr(settling, "_LONGEST_S", 0.0)

    assert (await run("pause", "a1")).out.startswith("a1 PAUSING")


async def test_resume_says_how_to_follow(run, coordinator):
    name = coordinator.add_repair()
    coordinator.repairs[name].state = pb.REPAIR_STATE_PAUSED

    outcome = await run("resume", "a1")

    assert (outcome.code, outcome.out) == (0, "a1 RUNNING; to follow it: llm-repair watch a1\n")


async def test_pausing_what_has_ended_is_wrong_use(run, finished):
    finished()

    outcome = await run("pause", "a1")

    assert outcome.code == 4
    assert "ILLEGAL_TRANSITION" in outcome.err


async def test_cancel_says_where_the_best_model_is_and_fetches_it(run, coordinator, tmp_path):
    name = coordinator.add_repair()
    partial = coordinator.put_tree({"config.json": b"{}", "model.safetensors": b"w" * 2000})
    coordinator.repairs[name].partial_model.CopyFrom(partial)

    first = await run("cancel", "a1")
    again = await run("cancel", "a1", "--out", str(tmp_path / "out"))

    assert first.out.splitlines()[0] == "a1 CANCELLED"
    assert f"not measured: artifact:{partial.digest} (2 kB)" in first.out
    assert "llm-repair cancel a1 --out DIR" in first.out
    assert again.code == 0
    assert (tmp_path / "out" / "partial_model" / "model.safetensors").read_bytes() == b"w" * 2000


async def test_whoever_watches_a_repair_that_is_cancelled_is_told_what_it_left(run, coordinator):
    name = coordinator.add_repair()
    coordinator.repairs[name].partial_model.CopyFrom(coordinator.put_tree({"config.json": b"{}"}))
    await coordinator.finish(name, pb.REPAIR_STATE_CANCELLED)

    outcome = await run("watch", "a1")

    assert outcome.code == 3
    assert "not measured: artifact:sha256:" in outcome.out
    assert "the repair was cancelled" in outcome.err


async def test_a_terminal_shows_that_a_repair_is_paused(coordinator, token):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=100)
    async with RepairClient(coordinator.address, token=token) as client:
        handle = client.repair(coordinator.add_repair())
        following = asyncio.create_task(progress.follow(handle, console))
        await handle.pause()
        await asyncio.sleep(0.3)
        await coordinator.finish(handle.name)
        await following

    assert "repair PAUSED" in console.file.getvalue()
