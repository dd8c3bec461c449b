"""The job store: idempotent creation, fencing, the event log."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_repair.coordinator.jobs import JobStore
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.core.errors import AttemptFenced, IllegalTransition, RepairNotFound, RequestIdReused
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.core.repairs import RepairSpec, RepairState, SelfGeneratedPool, StepState
from llm_repair.core.selection import Budget, FractionBudget, RandomStrategy, SelectionStrategy

SPEC = RepairSpec(
    model=ModelRef("file:/model"),
    pool=SelfGeneratedPool(DatasetRef("file:/prompts.jsonl")),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(RandomStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=Evaluation(DatasetRef("file:/eval.jsonl")),
)


def record(name: str = "projects/default/repairs/a", created: str = "2026-01-01T00:00:00+00:00") -> RepairRecord:
    return RepairRecord(name, SPEC, {"file:/model": "sha256:1"}, RepairState.PENDING, created)


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite3")
    yield store
    await store.close()


async def test_a_created_repair_is_read_back_whole(jobs: JobStore) -> None:
    created = await jobs.create(record(), "id", "digest")

    assert created.spec == SPEC
    assert created.resolved == {"file:/model": "sha256:1"}
    assert created.state is RepairState.PENDING


async def test_a_created_repair_survives_reopening(jobs: JobStore, tmp_path: Path) -> None:
    await jobs.create(record(), "id", "digest")

    other = JobStore(tmp_path / "jobs.sqlite3")

    assert (await other.get(record().name)).spec == SPEC
    await other.close()


async def test_the_same_request_makes_one_repair(jobs: JobStore) -> None:
    first = await jobs.create(record(), "id", "digest")
    second = await jobs.create(record("projects/default/repairs/b"), "id", "digest")

    assert second.name == first.name
    assert len((await jobs.list("default", size=10)).repairs) == 1


async def test_a_request_id_with_another_body_is_refused(jobs: JobStore) -> None:
    await jobs.create(record(), "id", "digest")

    with pytest.raises(RequestIdReused):
        await jobs.create(record("projects/default/repairs/b"), "id", "another")


async def test_an_unknown_repair_is_not_found(jobs: JobStore) -> None:
    with pytest.raises(RepairNotFound):
        await jobs.get("projects/default/repairs/none")


async def test_a_repair_is_claimed_by_one_coordinator_until_its_lease_runs_out(jobs: JobStore) -> None:
    await jobs.create(record(), "", "")

    first = await jobs.claim("one", lease_s=60)
    second = await jobs.claim("two", lease_s=60)

    assert first == (record().name, 1)
    assert second is None


async def test_a_coordinator_whose_lease_was_taken_over_can_change_nothing(jobs: JobStore) -> None:
    await jobs.create(record(), "", "")
    claimed = await jobs.claim("one", lease_s=-1)
    assert claimed is not None
    taken = await jobs.claim("two", lease_s=60)
    assert taken is not None

    for write in (
        jobs.renew(record().name, claimed[1], 60),
        jobs.change_state(record().name, RepairState.RUNNING, fence=claimed[1]),
        jobs.put_steps(record().name, claimed[1], [StepRecord("select", "select")]),
        jobs.put_dossier(record().name, claimed[1], "sha256:1", "PASS"),
    ):
        with pytest.raises(AttemptFenced):
            await write

    await jobs.renew(record().name, taken[1], 60)


async def test_a_released_repair_can_be_claimed_at_once(jobs: JobStore) -> None:
    await jobs.create(record(), "", "")
    _, fence = await jobs.claim("one", lease_s=60) or ("", 0)

    await jobs.release(record().name, fence)

    assert await jobs.claim("two", lease_s=60) == (record().name, fence + 1)


async def test_events_are_numbered_without_gaps_and_replayed_after_a_cursor(jobs: JobStore) -> None:
    name = (await jobs.create(record(), "", "")).name
    _, fence = await jobs.claim("one", lease_s=60) or ("", 0)
    await jobs.change_state(name, RepairState.RUNNING, fence=fence)
    await jobs.put_steps(name, fence, [StepRecord("select", "select")])
    await jobs.change_step(name, fence, StepRecord("select", "select", StepState.RUNNING))
    await jobs.note(name, fence, "select", "resumed", {"step": 3})

    everything, rest = await jobs.events(name, 0), await jobs.events(name, 2)

    assert [event.sequence for event in everything] == [1, 2, 3, 4]
    assert [event.kind for event in rest] == ["step_changed", "step_noted"]
    assert (await jobs.get(name)).steps[0].state is StepState.RUNNING


async def test_a_terminal_repair_stays_so(jobs: JobStore) -> None:
    name = (await jobs.create(record(), "", "")).name
    await jobs.change_state(name, RepairState.RUNNING)
    await jobs.change_state(name, RepairState.SUCCEEDED)

    with pytest.raises(IllegalTransition):
        await jobs.change_state(name, RepairState.CANCELLING)
    assert await jobs.claim("one", lease_s=60) is None


async def test_lists_are_newest_first_and_paged_without_gaps(jobs: JobStore) -> None:
    for day in range(1, 6):
        await jobs.create(record(f"projects/default/repairs/{day}", f"2026-01-0{day}T00:00:00+00:00"), "", "")
    await jobs.create(record("projects/other/repairs/9", "2026-01-09T00:00:00+00:00"), "", "")

    seen, token = [], ""
    while True:
        page = await jobs.list("default", size=2, after=token)
        seen += [repair.name[-1] for repair in page.repairs]
        if not (token := page.next_token):
            break

    assert seen == ["5", "4", "3", "2", "1"]


async def test_only_an_ended_repair_can_be_deleted(jobs: JobStore) -> None:
    name = (await jobs.create(record(), "id", "digest")).name
    with pytest.raises(IllegalTransition):
        await jobs.delete(name)
    await jobs.change_state(name, RepairState.FAILED, error={"reason": "X", "message": "", "metadata": {}})

    await jobs.delete(name)

    with pytest.raises(RepairNotFound):
        await jobs.get(name)
    assert await jobs.events(name, 0) == ()


async def test_the_database_is_durable_by_construction(jobs: JobStore, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "jobs.sqlite3")

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
