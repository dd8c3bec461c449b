"""A training on two ranks through four real services: what a killed rank costs, and what a cancelled one leaves."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from acceptance_spec import tiny_spec
from stack import Stack
from tiny_assets import TinyAssets

from llm_repair.client import RepairCancelled, RepairClient, RepairFailed, RepairHandle
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import trainer_pb2

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a rank needs a processor of its own"),
]


def spec_of(tiny: TinyAssets, seed: int, epochs: int, sharding: trainer_pb2.Sharding) -> pb.RepairSpec:
    spec = tiny_spec(
        tiny,
        prompts=None,
        pool=f"file:{tiny.pairs}",
        strategy="random",
        random_control=False,
        epochs=epochs,
        fraction=1.0,
        seed=seed,
    )
    spec.method.parallelism.ranks = 2
    spec.method.parallelism.sharding = sharding
    spec.method.checkpoint_every_steps = 10
    return spec


async def training(handle: RepairHandle, stack: Stack) -> str:
    """Waits until the training of a repair has left a checkpoint, and returns its key."""
    while True:
        repair = await handle.get()
        assert repair.state in (pb.REPAIR_STATE_PENDING, pb.REPAIR_STATE_RUNNING), repair.error
        key = trained(repair).key
        if key and any(stack.store.glob(f"projects/*/checkpoints/{key}/0*")):
            return key
        await asyncio.sleep(0.02)


def ranks_of(stack: Stack) -> list[int]:
    """Returns the processes that the trainer's worker has started, the first rank first."""
    workers = children(stack.pid("trainer"))
    return [rank for worker in workers for rank in children(worker)]


def children(parent: int) -> list[int]:
    found: list[int] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return sorted(found)


def trained(repair: pb.Repair) -> pb.Step:
    return next(step for step in repair.steps if step.name == "repair")


async def test_a_rank_that_is_killed_costs_an_attempt_and_no_bit(
    client: RepairClient, tiny: TinyAssets, stack: Stack
) -> None:
    """It goes on from a checkpoint, to the weights of the same training when it is left alone."""
    spec = spec_of(tiny, seed=31, epochs=15, sharding=trainer_pb2.SHARDING_DDP)
    handle = await client.create_repair(spec)
    key = await training(handle, stack)
    running = ranks_of(stack)
    os.kill(running[1], signal.SIGKILL)

    repair = await handle.result()

    notes = [event.step_noted.note.phrase async for event in handle.watch() if isinstance(event, pb.RepairEvent)]
    assert len(running) == 2
    assert trained(repair).attempts == 2
    assert notes.index("worker lost, trying again") < notes.index("resumed from checkpoint")
    assert ranks_of(stack) == []
    (result,) = stack.store.glob(f"projects/*/results/{key}")
    result.unlink()
    undisturbed = await (await client.create_repair(spec)).result()
    assert trained(undisturbed).attempts == 1
    assert not trained(undisturbed).reused
    assert undisturbed.weights_digest == repair.weights_digest


async def test_a_cancelled_training_of_sharded_weights_leaves_the_best_model_it_had_reached(
    client: RepairClient, tiny: TinyAssets, stack: Stack, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    handle = await client.create_repair(spec_of(tiny, seed=32, epochs=1000, sharding=trainer_pb2.SHARDING_FSDP))
    await training(handle, stack)
    asked = time.monotonic()
    await handle.cancel()
    with pytest.raises(RepairCancelled):
        await handle.result()

    # The promise is one step and 5 s; a step takes some milliseconds here, the machine may be busy.
    assert time.monotonic() - asked < 15
    assert ranks_of(stack) == []
    await handle.partial_model(tmp_path / "partial")
    left, base = (AutoModelForCausalLM.from_pretrained(at).state_dict() for at in (tmp_path / "partial", tiny.model))
    assert left.keys() == base.keys()
    assert any(not left[name].equal(base[name]) for name in base)


@pytest.mark.parametrize("ranks", [1, 2])
async def test_a_training_that_explodes_is_named_publishes_nothing_and_leaves_the_trainer_at_work(
    client: RepairClient, tiny: TinyAssets, stack: Stack, ranks: int
) -> None:
    """The first gradient is longer than 1.5 times a clipping norm of a billionth."""
    spec = spec_of(tiny, seed=34, epochs=1, sharding=trainer_pb2.SHARDING_DDP)
    spec.method.parallelism.ranks = ranks
    exploding = pb.RepairSpec()
    exploding.CopyFrom(spec)
    exploding.method.clip_norm = 1e-9
    exploding.method.explosion_ratio, exploding.method.explosion_steps = 1.5, 1

    handle = await client.create_repair(exploding)
    with pytest.raises(RepairFailed) as failed:
        await handle.result()

    step = trained(await handle.get())
    assert (failed.value.reason, failed.value.step) == ("GRADIENT_EXPLODED", "repair")
    assert failed.value.metadata["step"] == "1"
    assert not list(stack.store.glob(f"projects/*/results/{step.key}"))
    assert not list(stack.store.glob(f"projects/*/partials/{step.key}"))
    trainer = stack.pid("trainer")
    assert (await (await client.create_repair(spec)).result()).state == pb.REPAIR_STATE_SUCCEEDED
    assert stack.pid("trainer") == trainer


async def test_more_ranks_than_devices_are_refused_by_the_trainer_and_named(
    client: RepairClient, tiny: TinyAssets
) -> None:
    spec = spec_of(tiny, seed=33, epochs=1, sharding=trainer_pb2.SHARDING_DDP)
    spec.method.parallelism.ranks = 1024

    with pytest.raises(RepairFailed) as failed:
        await (await client.create_repair(spec)).result()

    assert (failed.value.reason, failed.value.step) == ("INVALID_FIELDS", "repair")
    assert "method.parallelism.ranks: must be at most" in str(failed.value)
