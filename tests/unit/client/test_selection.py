from __future__ import annotations

import asyncio
import json

import pytest

from llm_repair.client import FailedPrecondition, RepairClient, SyncRepairClient
from llm_repair.v1 import coordinator_pb2 as pb

ROWS = [{"id": name, "prompt": "p", "chosen": "c"} for name in "abc"]


@pytest.fixture
async def client(coordinator, token):
    async with RepairClient(coordinator.address, token=token) as client:
        yield client


def add_selected(coordinator, pool_step="import.pool", role="dataset", ids=("b", "c")) -> str:
    content = {"ids": ids, "clusters": [1, None], "delivered": 2, "diagnostics": {"pool": 3}}
    name = coordinator.add_repair()
    rows = coordinator.put_blob("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    select = coordinator.put_blob(json.dumps(content).encode())
    coordinator.repairs[name].steps.append(pb.Step(name=pool_step, outputs={role: rows}))
    coordinator.repairs[name].steps.append(pb.Step(name="select", outputs={"selection": select}))
    return name


async def test_a_selection_is_ids_in_rank_order_with_its_diagnostics(client, coordinator):
    selected = await client.repair(add_selected(coordinator)).selection()

    assert (selected.ids, selected.clusters) == (("b", "c"), (1, None))
    assert selected.diagnostics == {"pool": 3}


@pytest.mark.parametrize(("step", "role"), [("import.pool", "dataset"), ("pool", "pool")])
async def test_selected_rows_are_those_of_the_pool_in_rank_order(client, coordinator, tmp_path, step, role):
    handle = client.repair(add_selected(coordinator, step, role, ids=("c", "a")))

    path = await handle.selected_rows(tmp_path / "selected.jsonl")

    assert [json.loads(line) for line in path.read_text().splitlines()] == [ROWS[2], ROWS[0]]


async def test_a_selection_that_is_not_there_is_refused_with_the_state(client, coordinator):
    handle = client.repair(coordinator.add_repair())

    with pytest.raises(FailedPrecondition) as caught:
        await handle.selection()

    assert caught.value.metadata == {"state": "RUNNING"}


async def test_the_synchronous_handle_has_the_selection_too(coordinator, token, tmp_path):
    name = add_selected(coordinator)

    def use() -> tuple[tuple[str, ...], int]:
        with SyncRepairClient(coordinator.address, token=token) as client:
            handle = client.repair(name)
            return handle.selection().ids, len(handle.selected_rows(tmp_path / "rows.jsonl").read_text().splitlines())

    assert await asyncio.to_thread(use) == (("b", "c"), 2)
