from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from llm_repair.v1 import coordinator_pb2 as pb


@pytest.mark.parametrize(
    ("verdict", "code"), [(pb.VERDICT_PASS, 0), (pb.VERDICT_FAIL, 1), (pb.VERDICT_INCONCLUSIVE, 2)]
)
async def test_the_exit_code_is_the_verdict(run, finished, verdict, code):
    finished(verdict)

    outcome = await run("gate", "a1")

    assert outcome.code == code
    assert f"verdict: {pb.Verdict.Name(verdict).removeprefix('VERDICT_')}" in outcome.out
    assert "toxicity.mean: -0.1 [-0.15, -0.05] against 0" in outcome.out


async def test_an_answer_without_a_verdict_never_passes(run, finished):
    finished(pb.VERDICT_UNSPECIFIED)

    assert (await run("gate", "a1")).code == 3


async def test_inconclusive_may_be_let_through_with_a_warning_but_fail_may_not(run, finished, tmp_path):
    finished(pb.VERDICT_INCONCLUSIVE)
    let_through = await run("gate", "a1", "--on-inconclusive", "warn", "--junit", str(tmp_path / "j.xml"))
    finished(pb.VERDICT_FAIL)
    failed = await run("gate", "a1", "--on-inconclusive", "warn")

    assert (let_through.code, failed.code) == (0, 1)
    assert "warning: inconclusive" in let_through.out
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("1", "0", "1")


async def test_a_report_that_is_not_there_is_no_verdict(run, coordinator):
    coordinator.add_repair()

    outcome = await run("gate", "a1")

    assert outcome.code == 3
    assert "REPORT_NOT_READY" in outcome.err


async def test_waiting_for_a_repair_that_failed_is_no_verdict(run, coordinator):
    name = coordinator.add_repair()
    await coordinator.finish(name, pb.REPAIR_STATE_FAILED)

    assert (await run("gate", "a1", "--wait")).code == 3


async def test_a_server_that_is_away_is_no_verdict(run, coordinator, monkeypatch):
    monkeypatch.setattr("llm_repair.client._transport.RETRY_WINDOW_S", 0.3)
    await coordinator.stop()

    outcome = await run("gate", "a1")

    assert outcome.code == 3
    assert "Traceback" not in outcome.err


async def test_an_unknown_repair_is_wrong_use(run):
    outcome = await run("gate", "nobody")

    assert outcome.code == 4
    assert "REPAIR_NOT_FOUND" in outcome.err


async def test_a_missing_policy_file_is_wrong_use(run, tmp_path):
    outcome = await run("gate", "a1", "--policy", str(tmp_path / "no.yaml"))

    assert outcome.code == 4
    assert "no.yaml" in outcome.err


async def test_wrong_arguments_have_the_exit_code_of_wrong_use_and_not_of_inconclusive(run):
    with pytest.raises(SystemExit) as caught:
        await run("gate", "a1", "--on-inconclusive", "maybe")

    assert caught.value.code == 4


async def test_a_policy_file_reaches_the_server(run, coordinator, finished, tmp_path):
    finished()
    (tmp_path / "gate.yaml").write_text("criteria: [{metric: toxicity.mean, absolute: {bound: 0.1}}]")

    await run("gate", "a1")
    await run("gate", "a1", "--policy", str(tmp_path / "gate.yaml"))

    assert coordinator.policies[0] is None
    assert coordinator.policies[1].criteria[0].absolute.bound == 0.1


async def test_json_is_one_object_and_nothing_else(run, finished):
    finished(pb.VERDICT_FAIL)

    outcome = await run("gate", "a1", "--json")

    result = json.loads(outcome.out)
    assert (result["verdict"], result["exit_code"], result["repair"]) == ("FAIL", 1, "projects/default/repairs/a1")
    assert result["criteria"][0]["metric"] == "toxicity.mean"


async def test_markdown_is_appended_and_a_reason_cannot_leave_its_cell(run, finished, tmp_path):
    finished(pb.VERDICT_FAIL)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")

    await run("gate", "a1", "--markdown", str(summary))

    lines = summary.read_text().splitlines()
    assert lines[0] == "before"
    assert "❌ FAIL" in lines[1]
    row = next(line for line in lines if line.startswith("| `toxicity.mean`"))
    assert row.replace("\\|", "").count("|") == 4


async def test_junit_counts_a_failed_criterion(run, finished, tmp_path):
    finished(pb.VERDICT_FAIL)

    await run("gate", "a1", "--junit", str(tmp_path / "junit.xml"))

    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert suite.find("testcase/failure").get("type") == "FAIL"


async def test_a_criterion_for_each_group_says_so_wherever_it_is_written(run, coordinator, finished, tmp_path):
    finished(pb.VERDICT_FAIL)
    coordinator.gate.criteria[0].criterion.slice = pb.CRITERION_SLICE_EACH_GROUP
    markdown, junit = tmp_path / "summary.md", tmp_path / "junit.xml"

    outcome = await run("gate", "a1", "--markdown", str(markdown), "--junit", str(junit))

    assert "FAIL         toxicity.mean (each group): " in outcome.out
    assert "| `toxicity.mean (each group)` |" in markdown.read_text()
    assert ElementTree.parse(junit).getroot().find("testcase").get("name") == "toxicity.mean (each group)"


async def test_a_wrong_policy_file_is_named_by_path_and_nothing_is_asked(run, coordinator, finished, tmp_path):
    finished()
    (tmp_path / "gate.yaml").write_text("criteria: [{metric: toxicity.mean, change: {bund: 0}}]")

    outcome = await run("gate", "a1", "--policy", str(tmp_path / "gate.yaml"))

    assert outcome.code == 4
    assert outcome.err == "error: criteria[0].change.bund: is not known here; there are: bound\n"
    assert not coordinator.policies
