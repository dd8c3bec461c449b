from __future__ import annotations

from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2


async def test_jobs_lists_newest_first_with_state_and_verdict(run, coordinator, finished):
    finished(pb.VERDICT_PASS, "old")
    coordinator.add_repair("new")

    lines = (await run("jobs")).out.splitlines()

    assert [line.split("\t")[:3] for line in lines] == [
        ["name", "state", "verdict"],
        ["new", "RUNNING", "none"],
        ["old", "SUCCEEDED", "PASS"],
    ]


async def test_report_prints_numbers_with_intervals_and_reasons(run, finished):
    finished(pb.VERDICT_FAIL)

    outcome = await run("report", "a1")

    assert outcome.code == 0
    assert "toxicity.mean\t0.2\t0.1\t-0.1 [-0.15, -0.05]\t96\tprofanity" in outcome.out
    assert "verdict: FAIL" in outcome.out


async def test_a_ratio_is_marked_and_a_missing_number_shows_its_reason(run, coordinator, finished):
    name = finished()
    ratio = coordinator.metrics[name][1]
    ratio.change_kind = types_pb2.CHANGE_KIND_RATIO
    ratio.change.estimate.value, ratio.change.estimate.low, ratio.change.estimate.high = 1.02, 1.01, 1.03
    coordinator.metrics[name][0].repaired.missing_reason = "TOO_MANY_MISSING_SCORES"

    out = (await run("evaluate", "a1")).out

    assert "×1.02 [1.01, 1.03]" in out
    assert "toxicity.mean\t0.2\tTOO_MANY_MISSING_SCORES" in out


async def test_a_second_judge_is_marked_as_not_gating(run, coordinator, finished):
    name = finished()
    coordinator.metrics[name][0].gating = False

    assert "profanity (does not gate)" in (await run("evaluate", "a1")).out


async def test_cancel_asks_the_server(run, coordinator):
    name = coordinator.add_repair()

    outcome = await run("cancel", "a1")

    assert (outcome.code, outcome.out) == (0, "a1 CANCELLED\n")
    assert coordinator.repairs[name].state == pb.REPAIR_STATE_CANCELLED


async def test_latest_of_nothing_is_wrong_use(run):
    outcome = await run("report", "latest")

    assert (outcome.code, outcome.err) == (4, "error: there are no repairs yet\n")


async def test_control_characters_of_a_server_do_not_reach_the_terminal(run, coordinator, finished):
    finished()
    coordinator.gate.criteria[0].reason = "\x1b]0;owned\x07 fine"

    assert "\x1b" not in (await run("gate", "a1")).out


async def test_without_server_or_past_repairs_a_home_is_not_started(run, monkeypatch, tmp_path):
    monkeypatch.delenv("LLM_REPAIR_SERVER")

    outcome = await run("jobs", "--home", str(tmp_path / "home"))

    assert outcome.code == 4
    assert "there are no repairs in" in outcome.err
    assert not (tmp_path / "home").exists()


async def test_down_is_about_the_embedded_stack_whatever_server_the_environment_names(run, tmp_path):
    outcome = await run("down", "--home", str(tmp_path / "home"))

    assert (outcome.code, outcome.out) == (0, "nothing is running\n")
