"""The reconcile loop over a real job store; the services are played, so that they can be cut off at will."""

# The services are played by an object that has the two methods of the client that the loop uses.
# pyright: reportArgumentType=false

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator import executing, reconcile
from llm_repair.coordinator.dossier import DossierWriter
from llm_repair.coordinator.jobs import JobStore
from llm_repair.coordinator.plan import plan
from llm_repair.coordinator.reconcile import Reconciler
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.core.errors import DatasetInvalid, LossNotFinite, RepairError, StepCancelled, StorageUnavailable
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.execution import StepResult, Usage
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.core.repairs import RepairSpec, RepairState, SelfGeneratedPool, StepState
from llm_repair.core.selection import Budget, FractionBudget, RandomStrategy, SelectionStrategy
from llm_repair.core.steps import Step, step_key
from llm_repair.rpc.step_client import Event, ServiceUnreachable, Started

NAME = "projects/default/repairs/a"
SPEC = RepairSpec(
    model=ModelRef("file:/model"),
    pool=SelfGeneratedPool(DatasetRef("file:/prompts.jsonl")),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(RandomStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=Evaluation(DatasetRef("file:/eval.jsonl")),
)
RESOLVED = {f"file:/{name}": f"sha256:{name}" for name in ("model", "prompts.jsonl", "eval.jsonl")}
FIRST = plan(SPEC, RESOLVED, {})[0]


class Services:
    """Runs whatever is asked, first as attempt `one`, until it is cancelled; shows a sign of life now and then."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.cancelled: list[str] = []
        self.deaf_cancels = 0
        """So many cancels come before the execution is there to hear them."""
        self.failures: list[RepairError] = []
        """Raised one by one, each after a sign of life."""
        self.attempt = "one"
        self.running = asyncio.Event()
        self._stop = asyncio.Event()

    async def execute(self, step: Step) -> AsyncGenerator[Event, None]:
        self.executed.append(step_key(step))
        yield Started(self.attempt)
        yield Usage(cpu_s=7.0)
        self.running.set()
        if self.failures:
            raise self.failures.pop(0)
        while not self._stop.is_set():
            yield Usage(cpu_s=7.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._stop.wait()
        self._stop.clear()
        self.running.clear()
        self.attempt = "two"
        raise StepCancelled

    async def cancel(self, kind: str, key: str) -> bool:
        if not self.running.is_set() or self._stop.is_set():
            return False
        self.cancelled.append(key)
        if len(self.cancelled) > self.deaf_cancels:
            self._stop.set()
        return True


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite3")
    yield store
    await store.close()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store")


class Start(Protocol):
    async def __call__(self, services: Services, slots: int = 1) -> Reconciler: ...


@pytest.fixture
async def start(jobs: JobStore, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    for module in (reconcile, executing):
        monkeypatch.setattr(module, "_POLL_S", 0.05)
        monkeypatch.setattr(module, "_RETRY_MAX_S", 0.05)
    started: list[tuple[Reconciler, asyncio.Task[None]]] = []

    async def make(services: Services, slots: int = 1) -> Reconciler:
        made = Reconciler(jobs, services, DossierWriter(store), store.partials, slots=slots, lease_s=0.6)
        started.append((made, asyncio.create_task(made.run())))
        return made

    yield make
    for made, running in started:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await made.close()


async def created(jobs: JobStore, *steps: StepRecord, name: str = NAME, spec: RepairSpec = SPEC) -> None:
    await jobs.create(RepairRecord(name, spec, RESOLVED, RepairState.PENDING, "2026-01-01", steps=steps), "", "")


async def until(jobs: JobStore, state: RepairState, name: str = NAME) -> RepairRecord:
    async with asyncio.timeout(10):
        while (record := await jobs.get(name)).state is not state:  # noqa: ASYNC110 - rows signal nothing
            await asyncio.sleep(0.01)
    return record


def running_step() -> StepRecord:
    assert FIRST.step is not None
    return StepRecord(FIRST.name, FIRST.kind, StepState.RUNNING, step_key(FIRST.step), attempts=1, attempt="one")


async def test_a_cancel_is_repeated_until_the_execution_hears_it(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.deaf_cancels = 2
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()

    await jobs.change_state(NAME, RepairState.CANCELLING)
    reconciler.stop_requested(NAME)

    record = await until(jobs, RepairState.CANCELLED)
    assert len(services.cancelled) == 3
    assert record.steps[0].state is StepState.CANCELLED


async def test_a_cancel_that_only_the_row_tells_of_is_heard(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    await start(services)
    await services.running.wait()

    await jobs.change_state(NAME, RepairState.CANCELLING)

    await until(jobs, RepairState.CANCELLED)
    assert services.cancelled


async def test_a_coordinator_that_comes_back_stops_what_a_cancelled_repair_left_running(
    jobs: JobStore, start: Start
) -> None:
    services = Services()
    services.running.set()
    services.deaf_cancels = 1
    await created(jobs, running_step())
    await jobs.change_state(NAME, RepairState.CANCELLING)

    await start(services)

    record = await until(jobs, RepairState.CANCELLED)
    assert services.cancelled == [running_step().key] * 2
    assert record.steps[0].state is StepState.CANCELLED


async def test_a_step_of_a_cancelled_repair_is_stopped_though_its_stream_broke(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.failures = [ServiceUnreachable() for _ in range(1000)]
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()

    await jobs.change_state(NAME, RepairState.CANCELLING)
    reconciler.stop_requested(NAME)

    await until(jobs, RepairState.CANCELLED)
    assert services.cancelled


async def test_an_execution_found_again_is_no_new_attempt(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.failures = [ServiceUnreachable(), DatasetInvalid("bad")]
    await created(jobs, dataclasses.replace(running_step(), usage=Usage(cpu_s=2.0)))

    await start(services)

    step = (await until(jobs, RepairState.FAILED)).steps[0]
    assert step.attempts == 1
    # 2 s of attempts before this one, and 7 s of this one, however often it was found again.
    assert step.usage.cpu_s == 9.0


async def test_what_a_failed_step_consumed_stays_on_the_bill(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.failures = [DatasetInvalid("bad")]
    await created(jobs)

    await start(services)

    record = await until(jobs, RepairState.FAILED)
    assert record.steps[0].usage == Usage(cpu_s=7.0)


async def test_a_failure_names_its_step_of_the_repair_beside_that_of_the_optimizer(
    jobs: JobStore, start: Start
) -> None:
    services = Services()
    services.failures = [LossNotFinite("the loss is not finite at optimizer step 31", step=31)]
    await created(jobs)

    await start(services)

    record = await until(jobs, RepairState.FAILED)
    assert record.error is not None
    assert record.error["step"] == FIRST.name
    assert record.error["metadata"] == {"step": "31"}


async def test_a_store_that_is_away_for_a_moment_fails_nothing_but_not_for_ever(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.failures = [StorageUnavailable() for _ in range(5)]
    await created(jobs)

    await start(services)

    record = await until(jobs, RepairState.FAILED)
    notes = [event.payload["fields"] for event in await jobs.events(NAME, 0) if event.kind == "step_noted"]
    assert [note["interruptions"] for note in notes] == [1, 2, 3, 4]
    assert record.error is not None
    assert record.error["reason"] == "STORAGE_UNAVAILABLE"


async def test_a_defect_that_comes_back_every_time_fails_the_repair(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.failures = [ZeroDivisionError("a row's text") for _ in range(100)]  # type: ignore[list-item]
    await created(jobs)

    await start(services)

    record = await until(jobs, RepairState.FAILED)
    assert record.error is not None
    assert record.error["reason"] == "INTERNAL"
    assert "row" not in record.error["message"]


async def test_claiming_goes_on_after_the_database_failed(jobs: JobStore, start: Start, tmp_path: Path) -> None:
    services = Services()
    await created(jobs)
    other = sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)
    other.execute("ALTER TABLE repairs RENAME TO gone")
    await start(services)
    await asyncio.sleep(0.2)
    assert not services.running.is_set()

    other.execute("ALTER TABLE gone RENAME TO repairs")
    other.close()

    async with asyncio.timeout(10):
        await services.running.wait()


async def test_nothing_is_kept_of_a_repair_that_has_ended(jobs: JobStore, start: Start) -> None:
    services = Services()
    services.failures = [DatasetInvalid("bad")]
    await created(jobs)
    reconciler = await start(services)
    await until(jobs, RepairState.FAILED)
    await asyncio.sleep(0.1)

    reconciler.progress(NAME)
    reconciler.stop_requested(NAME)

    held = [*vars(reconciler).values(), *vars(reconciler._executor).values()]
    kept = [value for value in held if isinstance(value, dict)]
    assert len(kept) > 3
    assert not any(kept)


async def test_results_found_at_once_are_reused_and_cost_nothing(jobs: JobStore, start: Start) -> None:
    class Answering(Services):
        async def execute(self, step: Step) -> AsyncGenerator[Event, None]:
            if self.running.is_set():
                raise DatasetInvalid("enough")
            self.running.set()
            yield StepResult(step_key(step), step.kind, {}, {}, Usage(cpu_s=3.0), {})

    await created(jobs)

    await start(Answering())

    record = await until(jobs, RepairState.FAILED)
    assert [(step.reused, step.attempts) for step in record.steps if step.state is StepState.COMMITTED] == [(True, 0)]


OTHER = "projects/default/repairs/b"


async def test_a_paused_repair_frees_its_worker_and_runs_no_more(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()

    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler.stop_requested(NAME)

    record = await until(jobs, RepairState.PAUSED)
    assert not services.running.is_set()
    assert (record.steps[0].state, record.steps[0].attempts) == (StepState.WAITING, 1)
    assert record.steps[0].usage == Usage(cpu_s=7.0)
    await asyncio.sleep(0.3)
    assert len(services.executed) == 1


async def test_a_resumed_repair_executes_the_same_step_again_and_keeps_its_bill(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()
    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler.stop_requested(NAME)
    await until(jobs, RepairState.PAUSED)

    await jobs.change_state(NAME, RepairState.RUNNING)
    reconciler.claimable()

    await services.running.wait()
    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler.stop_requested(NAME)
    step = (await until(jobs, RepairState.PAUSED)).steps[0]
    assert services.executed == [step.key, step.key]
    assert step.attempts == 2
    assert step.usage.cpu_s == 14.0
    first = (await jobs.events(NAME, 0))[0].time
    lived_s = (datetime.now(UTC) - datetime.fromisoformat(first)).total_seconds()
    assert 0 < step.earlier_s < lived_s


async def test_a_pause_that_only_the_row_tells_of_is_heard(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    await start(services)
    await services.running.wait()

    await jobs.change_state(NAME, RepairState.PAUSING)

    await until(jobs, RepairState.PAUSED)


async def test_a_repair_paused_before_it_began_begins_when_it_is_resumed(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler = await start(services)
    await until(jobs, RepairState.PAUSED)
    assert services.executed == []

    await jobs.change_state(NAME, RepairState.RUNNING)
    reconciler.claimable()

    await services.running.wait()
    assert (await jobs.get(NAME)).started


async def test_a_coordinator_that_comes_back_waits_until_a_pausing_repair_has_let_go(
    jobs: JobStore, start: Start
) -> None:
    services = Services()
    services.running.set()
    services.deaf_cancels = 2
    await created(jobs, running_step())
    await jobs.change_state(NAME, RepairState.PAUSING)

    await start(services)

    record = await until(jobs, RepairState.PAUSED)
    assert services.cancelled == [running_step().key] * 3
    assert services.executed == []
    assert record.steps[0] == running_step().put_back()


async def test_a_coordinator_that_comes_back_leaves_a_paused_repair_alone(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs, running_step().put_back())
    await jobs.change_state(NAME, RepairState.PAUSING)
    await jobs.change_state(NAME, RepairState.PAUSED)

    await start(services)

    await asyncio.sleep(0.3)
    assert (await jobs.get(NAME)).state is RepairState.PAUSED
    assert services.executed == services.cancelled == []


async def test_a_repair_that_waits_for_a_slot_is_paused_at_once(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()
    await created(jobs, name=OTHER, spec=dataclasses.replace(SPEC, seed=1))
    reconciler.claimable()
    await until(jobs, RepairState.RUNNING, OTHER)

    await jobs.change_state(OTHER, RepairState.PAUSING)
    reconciler.stop_requested(OTHER)

    await until(jobs, RepairState.PAUSED, OTHER)
    assert len(services.executed) == 1
    assert services.running.is_set()


async def test_a_step_that_another_repair_waits_for_goes_on_when_one_is_paused(jobs: JobStore, start: Start) -> None:
    services = Services()
    await created(jobs)
    await created(jobs, name=OTHER)
    reconciler = await start(services, slots=2)
    await services.running.wait()
    await until(jobs, RepairState.RUNNING, OTHER)
    async with asyncio.timeout(5):
        while len(services.executed) < 2:  # noqa: ASYNC110 - both follow the same execution
            await asyncio.sleep(0.01)

    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler.stop_requested(NAME)

    await until(jobs, RepairState.PAUSED)
    assert services.cancelled == []
    assert services.running.is_set()
    assert (await jobs.get(OTHER)).steps[0].state is StepState.RUNNING


async def test_a_cancelled_repair_tells_the_newest_of_what_its_attempts_left(
    jobs: JobStore, start: Start, store: ArtifactStore, tmp_path: Path
) -> None:
    services = Services()
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()
    (tmp_path / "folder").mkdir()
    for attempt in ("z", "a"):
        (tmp_path / "folder" / "weights").write_text(attempt)
        newest = store.put_partial(services.executed[0], attempt, tmp_path / "folder")

    await jobs.change_state(NAME, RepairState.CANCELLING)
    reconciler.stop_requested(NAME)

    step = (await until(jobs, RepairState.CANCELLED)).steps[0]
    assert (step.state, step.outputs) == (StepState.CANCELLED, {"partial": newest})
    assert step.result is None


async def test_a_paused_repair_can_be_cancelled(jobs: JobStore, start: Start, store: ArtifactStore) -> None:
    services = Services()
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()
    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler.stop_requested(NAME)
    await until(jobs, RepairState.PAUSED)

    await jobs.change_state(NAME, RepairState.CANCELLING)
    reconciler.stop_requested(NAME)

    record = await until(jobs, RepairState.CANCELLED)
    assert record.steps[0].state is StepState.CANCELLED
    assert {step.state for step in record.steps[1:]} == {StepState.WAITING}


async def test_a_step_that_fails_while_it_is_to_pause_fails_the_repair(jobs: JobStore, start: Start) -> None:
    class FailingWhenAsked(Services):
        async def execute(self, step: Step) -> AsyncGenerator[Event, None]:
            try:
                async with contextlib.aclosing(super().execute(step)) as events:
                    async for event in events:
                        yield event
            except StepCancelled:
                raise DatasetInvalid("bad") from None

    services = FailingWhenAsked()
    await created(jobs)
    reconciler = await start(services)
    await services.running.wait()

    await jobs.change_state(NAME, RepairState.PAUSING)
    reconciler.stop_requested(NAME)

    record = await until(jobs, RepairState.FAILED)
    assert record.steps[0].state is StepState.FAILED
