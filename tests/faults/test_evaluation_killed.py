"""kill -9 of the process that samples and judges: the next one goes on from its batches, and nothing tells."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from measured_assets import make_measured_assets
from stack import Stack, running_stack
from tiny_assets import TinyAssets

from llm_repair.client import RepairClient, evaluation, evaluation_spec
from llm_repair.v1 import coordinator_pb2 as pb


@pytest.fixture(scope="module")
def spec(tiny: TinyAssets) -> pb.RepairSpec:
    """A measurement that takes the tiny model so long that something of it is kept."""
    assets = make_measured_assets(tiny)
    measured_by = evaluation(prompts=f"file:{assets.many}", judges=["profanity"], draws=120)
    return evaluation_spec(model=f"file:{tiny.model}", measured_by=measured_by, seed=4)


@pytest.fixture(scope="module")
def undisturbed(tiny: TinyAssets, spec: pb.RepairSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pb.Step]:
    import asyncio

    async def measured(stack: Stack) -> pb.Step:
        async with RepairClient(stack.address, token=stack.token) as client:
            return measuring(await (await client.create_repair(spec)).result())

    with running_stack(tmp_path_factory.mktemp("undisturbed") / "stack", [tiny.root]) as stack:
        yield asyncio.run(measured(stack))


def measuring(repair: pb.Repair) -> pb.Step:
    return next(step for step in repair.steps if step.kind == "evaluate")


def worker_of(service: int) -> int:
    """Returns the process that a service has started."""
    (worker,) = Path(f"/proc/{service}/task/{service}/children").read_text().split()
    return int(worker)


def keeps(stack: Stack, step: pb.Step) -> bool:
    """Tells whether the store has a checkpoint of the step; its record comes last."""
    area = stack.store / "projects" / "default" / "checkpoints" / step.key
    return area.is_dir() and any(path.is_file() for path in area.iterdir())


@pytest.mark.timeout(600)
async def test_a_killed_worker_is_followed_by_one_that_makes_what_is_missing(
    tiny: TinyAssets, spec: pb.RepairSpec, undisturbed: pb.Step, tmp_path: Path
) -> None:
    notes: list[str] = []
    killed = False
    with running_stack(tmp_path / "stack", [tiny.root]) as stack:
        async with RepairClient(stack.address, token=stack.token) as client:
            handle = await client.create_repair(spec)
            async for update in handle.watch():
                if isinstance(update, pb.RepairEvent):
                    notes += [update.step_noted.note.phrase] if update.HasField("step_noted") else []
                elif not killed and keeps(stack, measuring(await handle.get())):
                    killed = True
                    os.kill(worker_of(stack.pid("evaluation")), signal.SIGKILL)
            repair = await handle.get()
            left = keeps(stack, measuring(repair))

    assert killed
    assert repair.state == pb.REPAIR_STATE_SUCCEEDED
    assert notes.count("resumed from checkpoint") == 1
    step = measuring(repair)
    kept, made = (json.loads(step.summary_json)[name] for name in ("kept_samples", "generations"))
    assert step.attempts == 2
    assert 0 < kept < made
    assert step.outputs["evaluation"] == undisturbed.outputs["evaluation"]
    assert not left
