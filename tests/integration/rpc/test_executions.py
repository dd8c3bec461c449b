"""Executions with real worker processes: attach, commit, cancel, loss of a worker."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, ExecutionNotFound, RepairError, StepCancelled, WorkerLost
from llm_repair.core.selection import TextView
from llm_repair.core.steps import EmbedStep, ReportStep, step_key
from llm_repair.rpc import worker_pool
from llm_repair.rpc.configuration import Configuration, ServiceSettings
from llm_repair.rpc.executions import Executions
from llm_repair.rpc.worker_pool import WorkerPool
from llm_repair.v1 import execution_pb2

ENTRIES = {"embed": "step_code:count_to_ten", "report": "step_code:misbehave"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    configuration = Configuration(
        {
            "store": {"url": f"file://{tmp_path}/store"},
            "auth": {"insecure": True},
            "workers": {"threads": 1, "heartbeat_s": 0.3},
            "evaluation": {"listen": "127.0.0.1:1"},
        }
    )
    return configuration.service("evaluation", configuration.section("evaluation"))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def executions(settings: ServiceSettings, registry: CollectorRegistry) -> AsyncIterator[Executions]:
    made = Executions(ArtifactStore(settings.store.url), WorkerPool(settings), ENTRIES, registry, heartbeat_s=0.3)
    yield made
    await made.close()


def counting(log: Path) -> EmbedStep:
    return EmbedStep(str(log), "encoder", TextView.PROMPT)


async def events_of(executions: Executions, step: EmbedStep | ReportStep) -> list[execution_pb2.ExecutionEvent]:
    return [event async for event in executions.execute(step)]


def kinds(events: list[execution_pb2.ExecutionEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


async def test_a_stream_starts_tells_and_ends_with_the_committed_result(executions: Executions, tmp_path: Path) -> None:
    events = await events_of(executions, counting(tmp_path / "log"))

    seen = kinds(events)
    assert seen[0] == "started"
    assert seen[-1] == "committed"
    assert {"progress", "note", "heartbeat"} <= set(seen)
    result = events[-1].committed
    assert result.summary_json == '{"counted": 10}'
    assert result.usage.tokens == 10
    assert result.usage.wall_s >= 1.0
    assert set(result.outputs) == {"embeddings"}


async def test_a_committed_step_is_answered_at_once_and_not_run_again(executions: Executions, tmp_path: Path) -> None:
    step = counting(tmp_path / "log")
    await events_of(executions, step)

    again = await events_of(executions, step)

    assert kinds(again) == ["committed"]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


async def test_a_second_caller_attaches_to_the_running_execution(executions: Executions, tmp_path: Path) -> None:
    step = counting(tmp_path / "log")

    first, second = await asyncio.gather(events_of(executions, step), events_of(executions, step))

    assert first[-1].committed == second[-1].committed
    assert {first[0].started.attached, second[0].started.attached} == {False, True}
    assert len((tmp_path / "log").read_text().splitlines()) == 1


async def test_a_caller_that_goes_away_cancels_nothing(executions: Executions, tmp_path: Path) -> None:
    step = counting(tmp_path / "log")
    async for _ in executions.execute(step):
        break

    events = await events_of(executions, step)

    assert events[0].started.attached
    assert events[-1].WhichOneof("event") == "committed"
    assert len((tmp_path / "log").read_text().splitlines()) == 1


async def test_steps_share_a_warm_worker(executions: Executions, tmp_path: Path) -> None:
    await events_of(executions, counting(tmp_path / "one"))
    await events_of(executions, counting(tmp_path / "two"))

    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


async def test_a_cancelled_step_stops_commits_nothing_and_can_be_run_again(
    executions: Executions, tmp_path: Path
) -> None:
    step = counting(tmp_path / "log")
    with pytest.raises(StepCancelled):
        async for event in executions.execute(step):
            if event.WhichOneof("event") == "progress":
                executions.cancel(step_key(step))

    events = await events_of(executions, step)

    assert events[-1].WhichOneof("event") == "committed"


async def test_a_worker_that_ignores_a_cancel_is_killed(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "_CANCEL_GRACE_S", 0.3)
    step = ReportStep("ignore cancel")

    asked = False
    with pytest.raises(WorkerLost):
        async for event in executions.execute(step):
            if event.WhichOneof("event") == "heartbeat" and not asked:
                asked = True
                executions.cancel(step_key(step))


@pytest.mark.parametrize(("leave_grace_s", "ends_as"), [(20.0, StepCancelled), (0.3, WorkerLost)])
async def test_a_worker_that_has_heard_a_cancel_is_given_time_to_save_what_it_has(
    leave_grace_s: float, ends_as: type[RepairError], executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a second to leave, longer than one that has not heard is given."""
    monkeypatch.setattr(worker_pool, "_CANCEL_GRACE_S", 0.5)
    monkeypatch.setattr(worker_pool, "_LEAVE_GRACE_S", leave_grace_s)
    step = ReportStep("leave slowly")

    with pytest.raises(ends_as):
        async for event in executions.execute(step):
            if event.WhichOneof("event") == "progress":
                executions.cancel(step_key(step))


async def test_cancelling_what_does_not_run_is_an_error(executions: Executions) -> None:
    with pytest.raises(ExecutionNotFound):
        executions.cancel("0" * 64)


async def test_an_error_of_the_domain_reaches_the_caller_whole(executions: Executions) -> None:
    with pytest.raises(DatasetInvalid) as caught:
        await events_of(executions, ReportStep("refuse"))

    assert caught.value.metadata == {"bad_rows": "3"}
    assert caught.value.message == "three rows are bad"


async def test_a_defect_fails_the_step_without_quoting_what_it_said(
    executions: Executions, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RepairError) as caught:
        await events_of(executions, ReportStep("defect"))

    assert caught.value.reason == "INTERNAL"
    assert "ZeroDivisionError" in caught.value.message
    assert "secret" not in caught.value.message
    logged = capfd.readouterr().err
    assert caught.value.metadata["error_id"] in logged
    assert "misbehave" in logged
    assert "secret row text" not in logged


async def test_a_lost_worker_is_told_and_the_service_goes_on(
    executions: Executions, registry: CollectorRegistry
) -> None:
    with pytest.raises(WorkerLost):
        await events_of(executions, ReportStep("die"))

    events = await events_of(executions, ReportStep("behave"))

    assert events[-1].WhichOneof("event") == "committed"
    metrics = generate_latest(registry).decode()
    assert 'llm_repair_executions_total{kind="report",outcome="failed"} 1.0' in metrics
    assert 'llm_repair_executions_total{kind="report",outcome="committed"} 1.0' in metrics


@pytest.mark.parametrize("pause_s", [0.0, 0.001, 0.05])
async def test_a_step_cancelled_while_its_worker_starts_does_nothing(
    pause_s: float, executions: Executions, tmp_path: Path
) -> None:
    step = counting(tmp_path / "log")

    seen: list[execution_pb2.ExecutionEvent] = []

    with pytest.raises(StepCancelled):
        async for event in executions.execute(step):
            seen.append(event)
            if event.WhichOneof("event") == "started":
                await asyncio.sleep(pause_s)
                executions.cancel(step_key(step))

    assert "progress" not in kinds(seen)


async def test_a_step_cancelled_twice_leaves_nothing_behind_that_kills_the_next(
    executions: Executions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "_CANCEL_GRACE_S", 0.5)
    step = counting(tmp_path / "one")
    with pytest.raises(StepCancelled):
        async for event in executions.execute(step):
            if event.WhichOneof("event") == "progress":
                executions.cancel(step_key(step))
                executions.cancel(step_key(step))

    events = await events_of(executions, counting(tmp_path / "two"))

    assert events[-1].WhichOneof("event") == "committed"
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


async def test_a_lost_worker_is_noticed_though_a_child_of_it_lives(executions: Executions) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(WorkerLost):
            await events_of(executions, ReportStep("die and leave a child"))


async def test_a_result_that_is_no_json_is_a_defect_and_no_lost_worker(executions: Executions) -> None:
    with pytest.raises(RepairError) as caught:
        await events_of(executions, ReportStep("not a number"))

    assert caught.value.reason == "INTERNAL"


async def test_what_was_consumed_is_told_beside_other_news(executions: Executions) -> None:
    events = await events_of(executions, ReportStep("tell much"))

    assert "heartbeat" in kinds(events)


async def test_the_time_left_is_reckoned_from_what_was_done_since_the_start(executions: Executions) -> None:
    events = await events_of(executions, ReportStep("resume at 90"))

    first, last = [event.progress for event in events if event.WhichOneof("event") == "progress"]
    assert not first.HasField("eta_s")
    # One step took 1.1 s, and nine are left.
    assert 9.0 < last.eta_s < 13.0


async def test_a_training_run_is_seen_in_its_progress_and_metrics_until_it_ends(
    executions: Executions, registry: CollectorRegistry
) -> None:
    step = ReportStep("train")
    seen: list[dict[str, float]] = []
    shown = ""

    with pytest.raises(StepCancelled):
        async for event in executions.execute(step):
            if event.WhichOneof("event") == "progress":
                seen.append(dict(event.progress.measures))
                shown = generate_latest(registry).decode()
                executions.cancel(step_key(step))

    assert seen == [{"loss": 0.5, "block": 2.0}]
    assert 'llm_repair_training_loss{kind="report"} 0.5' in shown
    assert "llm_repair_training_gradient_norm{" not in shown
    assert "llm_repair_training_loss{" not in generate_latest(registry).decode()
