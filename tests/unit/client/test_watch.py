from __future__ import annotations

import asyncio

import pytest

from llm_repair.client import NotFound, RepairClient
from llm_repair.v1 import coordinator_pb2 as pb


@pytest.fixture
async def client(coordinator, token):
    async with RepairClient(coordinator.address, token=token) as client:
        yield client


async def sequences(handle, after_sequence=0):
    return [event.sequence async for event in handle.watch(after_sequence)]


async def test_yields_events_in_order_to_the_end_without_heartbeats(client, coordinator):
    name = coordinator.add_repair()
    for step in ("import_model", "select"):
        await coordinator.emit_step(name, step, pb.STEP_STATE_COMMITTED)
    await coordinator.finish(name)

    events = [event async for event in client.repair(name).watch()]

    assert [event.sequence for event in events] == [1, 2, 3]
    assert [event.step_changed.step.name for event in events[:2]] == ["import_model", "select"]


async def test_starts_after_the_cursor(client, coordinator):
    name = coordinator.add_repair()
    await coordinator.emit_step(name, "select", pb.STEP_STATE_COMMITTED)
    await coordinator.finish(name)

    assert await sequences(client.repair(name), after_sequence=1) == [2]


async def test_a_cursor_at_the_end_of_an_ended_repair_yields_nothing_and_ends(client, coordinator):
    name = coordinator.add_repair()
    await coordinator.finish(name)

    assert await sequences(client.repair(name), after_sequence=1) == []


async def test_goes_on_without_loss_or_repetition_when_the_server_is_stopped_and_started_again(client, coordinator):
    name = coordinator.add_repair()
    await coordinator.emit_step(name, "import_model", pb.STEP_STATE_RUNNING)
    await coordinator.emit_step(name, "import_model", pb.STEP_STATE_COMMITTED)
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def follow() -> None:
        async for event in client.repair(name).watch():
            seen.put_nowait(event.sequence)

    following = asyncio.create_task(follow())
    assert [await seen.get(), await seen.get()] == [1, 2]
    await coordinator.stop()
    await coordinator.emit_step(name, "select", pb.STEP_STATE_RUNNING)
    await coordinator.emit_step(name, "select", pb.STEP_STATE_COMMITTED)
    await coordinator.start()
    assert [await seen.get(), await seen.get()] == [3, 4]
    await coordinator.finish(name)
    await following

    assert [seen.get_nowait()] == [5]
    assert seen.empty()
    assert [request.after_sequence for request in coordinator.watch_requests] == [0, 2]


async def test_an_unknown_repair_is_an_error_and_not_retried(client, coordinator):
    with pytest.raises(NotFound):
        await sequences(client.repair("nobody"))

    assert len(coordinator.watch_requests) == 1


async def test_leaving_the_loop_early_does_not_cancel_the_repair(client, coordinator):
    name = coordinator.add_repair()
    await coordinator.emit_step(name, "select", pb.STEP_STATE_RUNNING)
    watch = client.repair(name).watch()

    await anext(watch)
    await watch.aclose()

    assert coordinator.repairs[name].state == pb.REPAIR_STATE_RUNNING
