"""A training is paused, resumed and cancelled: nothing is lost, nothing is held, and what was reached is kept."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from acceptance_spec import tiny_spec
from stack import Stack, running_stack
from tiny_assets import TinyAssets

from llm_repair.cli.main import main
from llm_repair.client import FailedPrecondition, RepairCancelled, RepairClient, RepairHandle, Update
from llm_repair.v1 import coordinator_pb2 as pb


def row_spec(tiny: TinyAssets, seed: int, epochs: int) -> pb.RepairSpec:
    return tiny_spec(
        tiny,
        prompts=None,
        pool=f"file:{tiny.pairs}",
        strategy="random",
        random_control=False,
        epochs=epochs,
        fraction=1.0,
        seed=seed,
    )


def long_spec(tiny: TinyAssets, seed: int, epochs: int = 300) -> pb.RepairSpec:
    """Returns a request whose training takes some seconds, and writes no checkpoint by itself."""
    spec = row_spec(tiny, seed, epochs)
    spec.method.checkpoint_every_steps = 100_000
    spec.method.validations = 10
    return spec


async def training(handle: RepairHandle) -> None:
    """Waits until a repair is amid its training: some steps in, and far from its end."""
    async with contextlib.aclosing(handle.watch()) as updates:
        async for update in updates:
            if isinstance(update, pb.StepProgress) and update.progress.unit == "optimizer steps":
                await asyncio.sleep(0.5)
                return
    raise AssertionError("the repair ended before")


async def until(handle: RepairHandle, state: pb.RepairState) -> pb.Repair:
    async with asyncio.timeout(30):
        while (repair := await handle.get()).state != state:  # noqa: ASYNC110 - looks as a client would
            await asyncio.sleep(0.05)
    return repair


def trained(repair: pb.Repair) -> pb.Step:
    return next(step for step in repair.steps if step.name == "repair")


async def test_a_paused_training_frees_its_worker_and_goes_on_exactly(
    client: RepairClient, tiny: TinyAssets, stack: Stack
) -> None:
    handle = await client.create_repair(long_spec(tiny, seed=11))
    await training(handle)
    asked = time.monotonic()
    await handle.pause()
    paused = await until(handle, pb.REPAIR_STATE_PAUSED)

    # The promise is one step and 5 s; a step takes some milliseconds here, the machine may be busy.
    assert time.monotonic() - asked < 10
    assert trained(paused).state == pb.STEP_STATE_WAITING
    # There is one slot: another repair would wait for ever.
    other = await client.create_repair(row_spec(tiny, seed=12, epochs=1))
    await asyncio.wait_for(other.result(), 120)
    assert (await handle.get()).state == pb.REPAIR_STATE_PAUSED
    updates: list[Update] = []
    await handle.resume()
    resumed = await handle.result(on_update=updates.append)

    shown = [update.progress for update in updates if isinstance(update, pb.StepProgress) and update.step == "repair"]
    measured = [progress for progress in shown if progress.unit == "optimizer steps"]
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_s"} <= set(measured[-1].measures)
    notes = [event.step_noted.note.phrase async for event in handle.watch() if isinstance(event, pb.RepairEvent)]
    assert "resumed from checkpoint" in notes
    assert trained(resumed).attempts == 2
    forget_training(stack, resumed)
    undisturbed = await (await client.create_repair(long_spec(tiny, seed=11))).result()
    assert not trained(undisturbed).reused
    assert undisturbed.weights_digest == resumed.weights_digest
    assert trained(undisturbed).outputs["model"].digest == trained(resumed).outputs["model"].digest


def forget_training(stack: Stack, repair: pb.Repair) -> None:
    """Takes away the result of the training, so that the same request trains anew."""
    (result,) = stack.store.glob(f"projects/*/results/{trained(repair).key}")
    result.unlink()


async def test_a_cancelled_training_leaves_the_best_model_it_had_reached(
    client: RepairClient, tiny: TinyAssets, out: Path, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM

    handle = await client.create_repair(long_spec(tiny, seed=13, epochs=1000))
    await training(handle)
    with pytest.raises(FailedPrecondition):
        await handle.partial_model(out)
    await handle.cancel()
    with pytest.raises(RepairCancelled):
        await handle.result()

    await handle.partial_model(out)
    left, base = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (out, tiny.model))
    assert any(not left[name].equal(base[name]) for name in base)
    repair = await handle.get()
    assert trained(repair).outputs["partial"].digest == repair.partial_model.digest
    assert not repair.HasField("report")
    server = ("--server", stack.address, "--token-file", str(stack.home / "token"))
    assert await asyncio.to_thread(main, ("cancel", handle.name, *server)) == 0
    assert f"artifact:{repair.partial_model.digest}" in capsys.readouterr().out


async def test_a_paused_repair_that_is_cancelled_keeps_what_it_had_reached(
    client: RepairClient, tiny: TinyAssets
) -> None:
    handle = await client.create_repair(long_spec(tiny, seed=14, epochs=1000))
    await training(handle)
    await handle.pause()
    await until(handle, pb.REPAIR_STATE_PAUSED)

    await handle.cancel()
    repair = await until(handle, pb.REPAIR_STATE_CANCELLED)

    assert repair.partial_model.digest
    with pytest.raises(FailedPrecondition) as refused:
        await handle.resume()
    assert refused.value.reason == "ILLEGAL_TRANSITION"


@pytest.fixture
def own_stack(tiny: TinyAssets, tmp_path: Path) -> Iterator[Stack]:
    """A stack that may be hurt."""
    with running_stack(tmp_path / "stack", [tiny.root]) as running:
        yield running


Interrupted = Callable[[Stack, RepairHandle], Awaitable[None]]


async def pause_then_lose_the_coordinator(stack: Stack, handle: RepairHandle) -> None:
    await handle.pause()
    stack.kill("coordinator")
    stack.start("coordinator")


async def lose_the_trainer_then_pause(stack: Stack, handle: RepairHandle) -> None:
    stack.kill("trainer")
    await handle.pause()
    stack.start("trainer")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("interrupt", [pause_then_lose_the_coordinator, lose_the_trainer_then_pause])
async def test_a_pause_is_carried_out_though_a_service_is_killed(
    interrupt: Interrupted, tiny: TinyAssets, own_stack: Stack
) -> None:
    async with RepairClient(own_stack.address, token=own_stack.token) as client:
        handle = await client.create_repair(long_spec(tiny, seed=15))
        await training(handle)
        await interrupt(own_stack, handle)
        await until(handle, pb.REPAIR_STATE_PAUSED)

        await handle.resume()
        repair = await handle.result()

    assert repair.state == pb.REPAIR_STATE_SUCCEEDED
