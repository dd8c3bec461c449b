from __future__ import annotations

import asyncio
import uuid

import pytest

from llm_repair.client import (
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    RepairCancelled,
    RepairClient,
    RepairFailed,
    SyncRepairClient,
    Unauthenticated,
    Unavailable,
    repair_spec,
)
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2

SPEC = repair_spec(model="file:/m", prompts="file:/p.jsonl", eval_prompts="file:/e.jsonl")


@pytest.fixture
async def client(coordinator, token):
    async with RepairClient(coordinator.address, token=token) as client:
        yield client


async def test_create_carries_a_fresh_uuid4_and_the_token(client, coordinator):
    first = await client.create_repair(SPEC)
    second = await client.create_repair(SPEC)

    ids = [uuid.UUID(request.request_id) for request in coordinator.create_requests]
    assert [each.version for each in ids] == [4, 4]
    assert ids[0] != ids[1]
    assert first.name != second.name


async def test_create_is_tried_again_with_the_same_request_id_while_the_server_is_unavailable(client, coordinator):
    coordinator.unavailable_creates = 2

    await client.create_repair(SPEC)

    assert len(coordinator.create_requests) == 3
    assert len({request.request_id for request in coordinator.create_requests}) == 1
    assert len(coordinator.repairs) == 1


async def test_the_same_request_id_gives_the_same_repair(client, coordinator):
    request_id = str(uuid.uuid4())

    handles = [await client.create_repair(SPEC, request_id) for _ in range(2)]

    assert handles[0].name == handles[1].name
    assert len(coordinator.repairs) == 1


async def test_a_reused_request_id_with_another_body_is_refused_with_its_reason(client):
    request_id = str(uuid.uuid4())
    await client.create_repair(SPEC, request_id)

    with pytest.raises(InvalidRequest) as caught:
        await client.create_repair(repair_spec(base=SPEC, seed=1), request_id)

    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert caught.value.metadata == {"request_id": "x"}


async def test_validate_only_starts_nothing(client, coordinator):
    handle = await client.create_repair(SPEC, validate_only=True)

    assert handle.name == ""
    assert not coordinator.repairs


async def test_what_a_request_would_take_is_told_without_starting_it(client, coordinator, token):
    coordinator.plan.CopyFrom(pb.RepairPlan(prompts=187, samples=1496))
    coordinator.foreseen_steps = [pb.Step(name="evaluate.base", reused=True)]

    def from_a_thread() -> pb.CreateRepairResponse:
        with SyncRepairClient(coordinator.address, token=token) as blocking:
            return blocking.foresee(SPEC)

    answers = [await client.foresee(SPEC), await asyncio.to_thread(from_a_thread)]

    assert [answer.plan.samples for answer in answers] == [1496, 1496]
    assert [step.reused for step in answers[0].repair.steps] == [True]
    assert not coordinator.repairs


async def test_all_field_violations_arrive_at_once(client):
    with pytest.raises(InvalidRequest) as caught:
        await client.create_repair(repair_spec(prompts="file:/p", fraction=2.0))

    assert [violation.field for violation in caught.value.violations] == ["model", "budget.fraction.fraction"]
    assert caught.value.reason == "INVALID_FIELDS"


async def test_a_wrong_token_is_unauthenticated(coordinator):
    async with RepairClient(coordinator.address, token="wrong") as client:
        with pytest.raises(Unauthenticated) as caught:
            await client.create_repair(SPEC)

    assert caught.value.reason == "CREDENTIAL_MISSING"


async def test_an_unknown_name_is_not_found_with_its_metadata(client):
    with pytest.raises(NotFound) as caught:
        await client.repair("nobody").get()

    assert caught.value.reason == "REPAIR_NOT_FOUND"
    assert caught.value.metadata == {"name": "projects/default/repairs/nobody"}


async def test_a_report_that_is_not_ready_is_a_failed_precondition(client, coordinator):
    name = coordinator.add_repair()

    with pytest.raises(FailedPrecondition) as caught:
        await client.get_report(name)

    assert caught.value.reason == "REPORT_NOT_READY"


async def test_a_server_that_is_gone_is_unavailable_after_the_retry_window(client, coordinator, monkeypatch):
    monkeypatch.setattr("llm_repair.client._transport.RETRY_WINDOW_S", 0.5)
    await coordinator.stop()

    with pytest.raises(Unavailable):
        await client.repair("a1").get()


async def test_lists_all_pages_newest_first_and_filters_by_state(client, coordinator):
    names = [coordinator.add_repair(f"a{number}") for number in range(5)]
    await coordinator.finish(names[1])

    everything = [repair.name async for repair in client.list_repairs(page_size=2)]
    running = [repair.name async for repair in client.list_repairs(states=[pb.REPAIR_STATE_RUNNING])]

    assert everything == names[::-1]
    assert running == [name for name in names[::-1] if name != names[1]]


async def test_result_returns_the_repair_even_when_its_gate_says_fail(client, coordinator):
    name = coordinator.add_repair()
    waiting = asyncio.create_task(client.repair(name).result())
    await coordinator.finish(name, verdict=pb.VERDICT_FAIL)

    assert (await waiting).verdict == pb.VERDICT_FAIL


async def test_result_raises_what_the_server_stored_on_a_failed_repair(client, coordinator):
    name = coordinator.add_repair()
    failure = types_pb2.Failure(reason="LOSS_NOT_FINITE", message="NaN.", metadata={"step": "31"}, step="repair")
    await coordinator.finish(name, pb.REPAIR_STATE_FAILED, error=failure)

    with pytest.raises(RepairFailed) as caught:
        await client.repair(name).result()

    assert (caught.value.reason, caught.value.metadata) == ("LOSS_NOT_FINITE", {"step": "31"})
    assert caught.value.step == "repair"


async def test_result_raises_when_the_repair_was_cancelled(client, coordinator):
    handle = client.repair(coordinator.add_repair())
    await handle.cancel()

    with pytest.raises(RepairCancelled):
        await handle.result()


async def test_model_of_a_repair_without_one_is_refused_with_its_state(client, coordinator, tmp_path):
    handle = client.repair(coordinator.add_repair())

    with pytest.raises(FailedPrecondition) as caught:
        await handle.model(tmp_path / "model")

    assert caught.value.metadata == {"state": "RUNNING"}


async def test_the_synchronous_client_does_the_same_from_a_thread(coordinator, token, tmp_path):
    report = coordinator.put_tree({"report.json": b"{}"})

    def use() -> list[object]:
        with SyncRepairClient(coordinator.address, token=token) as client:
            handle = client.create_repair(SPEC)
            names = [repair.name for repair in client.list_repairs()]
            coordinator.repairs[handle.name].report.CopyFrom(report)
            folder = handle.report(tmp_path / "report")
            handle.cancel()
            events = [event.state_changed.state for event in handle.watch()]
            return [handle.name in names, (folder / "report.json").read_bytes(), events]

    ends = [pb.REPAIR_STATE_CANCELLING, pb.REPAIR_STATE_CANCELLED]
    assert await asyncio.to_thread(use) == [True, b"{}", ends]


async def test_a_repair_is_paused_and_resumed(client, coordinator):
    handle = client.repair(coordinator.add_repair())

    pausing = await handle.pause()
    resumed = await handle.resume()

    assert pausing.state == pb.REPAIR_STATE_PAUSING
    assert resumed.state == pb.REPAIR_STATE_RUNNING


async def test_pausing_what_has_ended_is_refused_with_its_reason(client, coordinator):
    name = coordinator.add_repair()
    await coordinator.finish(name)

    with pytest.raises(FailedPrecondition) as caught:
        await client.repair(name).pause()

    assert caught.value.reason == "ILLEGAL_TRANSITION"


async def test_a_result_is_waited_for_through_a_pause(client, coordinator):
    handle = client.repair(coordinator.add_repair())
    waiting = asyncio.create_task(handle.result())

    await handle.pause()
    await asyncio.sleep(0.2)
    await handle.resume()
    assert not waiting.done()
    await coordinator.finish(handle.name)

    assert (await waiting).state == pb.REPAIR_STATE_SUCCEEDED


async def test_what_a_cancelled_repair_had_reached_is_fetched(client, coordinator, tmp_path):
    name = coordinator.add_repair()
    coordinator.repairs[name].partial_model.CopyFrom(coordinator.put_tree({"config.json": b"{}"}))

    folder = await client.repair(name).partial_model(tmp_path / "partial")

    assert (folder / "config.json").read_bytes() == b"{}"


async def test_a_repair_without_a_partial_model_says_so(client, coordinator, tmp_path):
    handle = client.repair(coordinator.add_repair())

    with pytest.raises(FailedPrecondition, match="RUNNING has no partial model"):
        await handle.partial_model(tmp_path / "partial")


async def test_the_blocking_handle_pauses_resumes_and_fetches_too(coordinator, token, tmp_path):
    name = coordinator.add_repair()
    coordinator.repairs[name].partial_model.CopyFrom(coordinator.put_tree({"config.json": b"{}"}))

    def use() -> tuple[int, int, bytes]:
        with SyncRepairClient(coordinator.address, token=token) as client:
            handle = client.repair(name)
            states = handle.pause().state, handle.resume().state
            return *states, (handle.partial_model(tmp_path / "partial") / "config.json").read_bytes()

    assert await asyncio.to_thread(use) == (pb.REPAIR_STATE_PAUSING, pb.REPAIR_STATE_RUNNING, b"{}")
