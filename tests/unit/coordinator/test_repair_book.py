"""What may be asked of a repair in which state: pausing, resuming and cancelling."""

# The reconciler is played: the book only tells it to look.
# pyright: reportArgumentType=false

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_repair.coordinator.jobs import JobStore
from llm_repair.coordinator.records import RepairRecord
from llm_repair.coordinator.repair_book import RepairBook
from llm_repair.core.errors import IllegalTransition, RepairNotFound
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.core.repairs import RepairSpec, SelfGeneratedPool
from llm_repair.core.repairs import RepairState as S
from llm_repair.core.selection import Budget, FractionBudget, RandomStrategy, SelectionStrategy

NAME = "projects/default/repairs/a"
SPEC = RepairSpec(
    model=ModelRef("file:/model"),
    pool=SelfGeneratedPool(DatasetRef("file:/prompts.jsonl")),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(RandomStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=Evaluation(DatasetRef("file:/eval.jsonl")),
)
WAYS = {
    S.PENDING: (),
    S.RUNNING: (S.RUNNING,),
    S.PAUSING: (S.RUNNING, S.PAUSING),
    S.PAUSED: (S.RUNNING, S.PAUSING, S.PAUSED),
    S.CANCELLING: (S.CANCELLING,),
    S.CANCELLED: (S.CANCELLING, S.CANCELLED),
    S.SUCCEEDED: (S.RUNNING, S.SUCCEEDED),
    S.FAILED: (S.FAILED,),
}
"""How a repair comes into each state."""


class Looker:
    """Remembers what it was told to look at."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stop_requested(self, name: str) -> None:
        self.told.append(f"stop {name}")

    def claimable(self) -> None:
        self.told.append("claim")


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite3")
    yield store
    await store.close()


@pytest.fixture
def looker() -> Looker:
    return Looker()


@pytest.fixture
def book(jobs: JobStore, looker: Looker) -> RepairBook:
    return RepairBook(jobs, None, looker, None, None)


async def bring(jobs: JobStore, state: S) -> None:
    await jobs.create(RepairRecord(NAME, SPEC, {}, S.PENDING, "2026-01-01"), "", "")
    for step in WAYS[state]:
        await jobs.change_state(NAME, step)


ALLOWED = [
    ("pause", S.PENDING, S.PAUSING),
    ("pause", S.RUNNING, S.PAUSING),
    ("pause", S.PAUSING, S.PAUSING),
    ("pause", S.PAUSED, S.PAUSED),
    ("resume", S.PAUSED, S.RUNNING),
    ("resume", S.RUNNING, S.RUNNING),
    ("resume", S.PENDING, S.PENDING),
    ("cancel", S.PENDING, S.CANCELLING),
    ("cancel", S.RUNNING, S.CANCELLING),
    ("cancel", S.PAUSING, S.CANCELLING),
    ("cancel", S.PAUSED, S.CANCELLING),
    ("cancel", S.CANCELLING, S.CANCELLING),
    ("cancel", S.CANCELLED, S.CANCELLED),
]
REFUSED = [
    (what, state)
    for what in ("pause", "resume", "cancel")
    for state in S
    if state not in [before for asked, before, _ in ALLOWED if asked == what]
]


@pytest.mark.parametrize(("what", "before", "after"), ALLOWED)
async def test_what_is_allowed_changes_the_row_and_wakes_the_reconciler(
    what: str, before: S, after: S, jobs: JobStore, book: RepairBook, looker: Looker
) -> None:
    await bring(jobs, before)

    record = await getattr(book, what)(NAME)

    assert record.state is (await jobs.get(NAME)).state is after
    assert looker.told == ["claim" if what == "resume" else f"stop {NAME}"]


@pytest.mark.parametrize(("what", "before", "after"), ALLOWED)
async def test_asked_twice_changes_nothing_more(
    what: str, before: S, after: S, jobs: JobStore, book: RepairBook
) -> None:
    await bring(jobs, before)
    await getattr(book, what)(NAME)
    events = await jobs.events(NAME, 0)

    await getattr(book, what)(NAME)

    assert (await jobs.get(NAME)).state is after
    assert await jobs.events(NAME, 0) == events


@pytest.mark.parametrize(("what", "state"), REFUSED)
async def test_what_is_not_allowed_is_refused_with_the_state_it_is_in(
    what: str, state: S, jobs: JobStore, book: RepairBook
) -> None:
    await bring(jobs, state)

    with pytest.raises(IllegalTransition) as caught:
        await getattr(book, what)(NAME)

    assert caught.value.metadata["from_state"] == state.name
    assert (await jobs.get(NAME)).state is state


def test_a_repair_that_has_ended_can_be_asked_for_nothing_else() -> None:
    assert {state for what, state in REFUSED if what == "pause"} == {S.CANCELLING, S.CANCELLED, S.SUCCEEDED, S.FAILED}
    assert {state for what, state in REFUSED if what == "cancel"} == {S.SUCCEEDED, S.FAILED}


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
async def test_an_unknown_repair_is_not_found(what: str, book: RepairBook) -> None:
    with pytest.raises(RepairNotFound):
        await getattr(book, what)(NAME)
