"""kill -9 of any service during any stage: the repair ends, with the same numbers as if nothing had happened."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance_spec import tiny_spec
from stack import SERVICES, Stack, running_stack
from tiny_assets import TinyAssets

from llm_repair.client import RepairClient
from llm_repair.v1 import coordinator_pb2 as pb

STAGES = {
    "import_model",
    "import_dataset",
    "evaluate",
    "build_pool",
    "embed",
    "select",
    "overlap",
    "repair",
    "compare",
    "report",
    "publish",
}


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """Returns what must not depend on faults: everything measured, nothing about time."""
    return {key: report[key] for key in ("verdict", "metrics", "records")}


async def repaired(stack: Stack, tiny: TinyAssets, out: Path) -> dict[str, Any]:
    async with RepairClient(stack.address, token=stack.token) as client:
        handle = await client.create_repair(tiny_spec(tiny))
        await handle.result()
        await handle.report(out)
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tiny: TinyAssets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    import asyncio

    home = tmp_path_factory.mktemp("undisturbed")
    with running_stack(home / "stack", [tiny.root]) as stack:
        yield asyncio.run(repaired(stack, tiny, home / "report"))


@pytest.mark.parametrize("victim", SERVICES)
@pytest.mark.timeout(600)
async def test_a_service_killed_in_every_stage_changes_no_number(
    victim: str, tiny: TinyAssets, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    with running_stack(tmp_path / "stack", [tiny.root]) as stack:
        killed: set[str] = set()
        async with RepairClient(stack.address, token=stack.token) as client:
            handle = await client.create_repair(tiny_spec(tiny))
            async for update in handle.watch():
                step = update.step_changed.step if isinstance(update, pb.RepairEvent) else None
                if step and step.state == pb.STEP_STATE_RUNNING and step.kind not in killed:
                    killed.add(step.kind)
                    stack.kill(victim)
                    stack.start(victim)
            repair = await handle.get()
            assert repair.state == pb.REPAIR_STATE_SUCCEEDED, f"{repair.error}\n{stack.logs()}"
            await handle.report(tmp_path / "report")

    assert killed == STAGES
    assert numbers(json.loads((tmp_path / "report" / "report.json").read_text())) == numbers(undisturbed)


@pytest.mark.timeout(300)
async def test_a_killed_training_continues_from_its_checkpoint_and_says_so(tiny: TinyAssets, tmp_path: Path) -> None:
    spec = tiny_spec(
        tiny, prompts=None, pool=f"file:{tiny.pairs}", strategy="random", random_control=False, epochs=200, fraction=1.0
    )
    notes: list[str] = []
    with running_stack(tmp_path / "stack", [tiny.root]) as stack:
        async with RepairClient(stack.address, token=stack.token) as client:
            handle = await client.create_repair(spec)
            killed = False
            async for update in handle.watch():
                if isinstance(update, pb.RepairEvent):
                    notes += [update.step_noted.note.phrase] if update.HasField("step_noted") else []
                elif update.step == "repair" and update.progress.done > 20 and not killed:
                    killed = True
                    stack.kill("trainer")
                    stack.start("trainer")
            repair = await handle.get()

    assert killed
    assert repair.state == pb.REPAIR_STATE_SUCCEEDED
    assert "resumed from checkpoint" in notes
    training = next(step for step in repair.steps if step.name == "repair")
    assert training.attempts == 2
