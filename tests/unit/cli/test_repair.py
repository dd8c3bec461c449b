from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import selection_pb2, trainer_pb2, types_pb2

COMMON = ("--model", "hf:org/m", "--prompts", "hf:org/p", "--eval-prompts", "hf:org/p", "--eval-slice", "0.8:1")


async def test_follows_to_the_end_with_one_line_for_each_change_and_the_verdict_as_exit_code(
    run, coordinator, finished
):
    running = asyncio.create_task(run("repair", *COMMON))
    name = await coordinator.created.get()
    await coordinator.emit_step(name, "select", pb.STEP_STATE_RUNNING)
    await coordinator.emit_step(name, "select", pb.STEP_STATE_COMMITTED, usage=types_pb2.Usage(wall_s=3.21))
    await coordinator.emit_step(name, "evaluate.base", pb.STEP_STATE_COMMITTED, reused=True)
    finished(pb.VERDICT_FAIL, "other")
    coordinator.repairs[name].report.CopyFrom(coordinator.put_tree({"report.json": b"{}"}))
    await coordinator.finish(name, verdict=pb.VERDICT_FAIL)

    outcome = await running

    lines = outcome.out.splitlines()
    assert lines[1:5] == ["select running", "select done 3.2 s", "evaluate.base reused", "repair SUCCEEDED"]
    assert "verdict: FAIL" in lines
    assert outcome.code == 1


async def test_detach_prints_the_name_alone(run, coordinator):
    outcome = await run("repair", *COMMON, "--detach", "--lora", "--samples", "12", "--no-control", "--seed", "5")

    spec = coordinator.create_requests[0].spec
    assert (outcome.code, outcome.out) == (0, "r1\n")
    assert spec.method.WhichOneof("trainable") == "lora"
    assert (spec.budget.samples.samples, spec.random_control, spec.seed) == (12, False, 5)
    assert spec.evaluation.prompts.slice.start == 0.8


async def test_the_flags_of_a_method_and_of_a_strategy_are_kept_apart(run, coordinator):
    flags = ("--method", "irepair-kl", "--method-preset", "paper", "--kl-weight", "2", "--utility", "hf:org/t")

    await run("repair", *COMMON, *flags, "--preset", "paper", "--detach")
    await run("repair", *COMMON, "--preset", "paper", "--layers", "3,4,5", "--beta", "0.5", "--detach")

    both, one = (request.spec for request in coordinator.create_requests)
    assert (both.method.irepair_kl.kl_weight, both.utility.reference) == (2.0, "hf:org/t")
    assert both.method.preset == trainer_pb2.REPAIR_PRESET_PAPER
    assert both.strategy.preset == one.strategy.preset == selection_pb2.SELECTION_PRESET_PAPER
    assert one.method.preset == trainer_pb2.REPAIR_PRESET_UNSPECIFIED
    assert (list(one.method.full.layers), one.method.dpo.beta) == ([3, 4, 5], 0.5)


async def test_an_option_that_the_method_does_not_have_is_wrong_use(run, coordinator):
    outcome = await run("repair", *COMMON, "--method", "dapt", "--beta", "0.1")

    assert outcome.code == 4
    assert "method.dapt.beta: is no parameter of dapt" in outcome.err
    assert not coordinator.create_requests


async def test_a_method_option_changes_that_of_the_file_and_nothing_else(run, coordinator, tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "model: {reference: 'hf:org/m'}\nmethod: {kto: {beta: 0.5}, full: {top_layers: 4}, epochs: 9}\n"
    )

    spec_file = ("--spec", str(tmp_path / "spec.yaml"))
    await run("repair", *spec_file, "--desirable-weight", "2", "--top-share", "0.5", "--detach")

    method = coordinator.create_requests[0].spec.method
    assert (method.kto.beta, method.kto.desirable_weight, method.epochs) == (0.5, 2.0, 9)
    assert method.full == trainer_pb2.FullParameters(top_share=0.5)


async def test_devices_are_said_by_flags_or_in_the_file(run, coordinator, tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "model: {reference: 'hf:org/m'}\nmethod: {dapt: {}, parallelism: {ranks: 4, sharding: SHARDING_FSDP}}\n"
    )

    await run("repair", *COMMON, "--ranks", "2", "--sharding", "fsdp", "--detach")
    await run("repair", "--spec", str(tmp_path / "spec.yaml"), "--detach")
    await run("repair", "--spec", str(tmp_path / "spec.yaml"), "--ranks", "2", "--detach")

    said, of_file, over_file = (request.spec.method.parallelism for request in coordinator.create_requests)
    assert said == over_file == trainer_pb2.Parallelism(ranks=2, sharding=trainer_pb2.SHARDING_FSDP)
    assert of_file == trainer_pb2.Parallelism(ranks=4, sharding=trainer_pb2.SHARDING_FSDP)


async def test_violations_are_printed_one_a_line_with_the_exit_code_of_wrong_use(run):
    outcome = await run("repair", "--model", "hf:org/m", "--prompts", "hf:org/p", "--fraction", "7")

    assert outcome.code == 4
    assert outcome.err == "error: budget.fraction.fraction: must be in (0, 1]\n"


async def test_flags_override_the_file(run, coordinator, tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "model: {reference: 'hf:org/m'}\nbudget: {fraction: {fraction: 0.5}}\nseed: 3\nmethod: {dapt: {}, epochs: 9}\n"
    )

    await run("repair", "--spec", str(tmp_path / "spec.yaml"), "--epochs", "1", "--detach")

    spec = coordinator.create_requests[0].spec
    assert (spec.method.epochs, spec.seed, spec.budget.fraction.fraction) == (1, 3, 0.5)
    assert spec.method.WhichOneof("objective") == "dapt"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("modle: x\nstrategy: {saps: {k: 3}}", "error: modle: is not a field"),
        ("model: [", "is not YAML"),
    ],
)
async def test_a_wrong_spec_file_is_named_by_path_and_nothing_is_sent(run, coordinator, tmp_path, text, complaint):
    (tmp_path / "spec.yaml").write_text(text)

    outcome = await run("repair", "--spec", str(tmp_path / "spec.yaml"))

    assert outcome.code == 4
    assert complaint in outcome.err
    assert not coordinator.create_requests


async def test_a_path_that_does_not_exist_is_wrong_use(run, coordinator):
    outcome = await run("repair", "--model", "./no-such-model", "--prompts", "hf:org/p")

    assert outcome.code == 4
    assert "./no-such-model is neither a reference" in outcome.err
    assert not coordinator.create_requests


async def test_a_local_data_set_is_uploaded_to_a_server_with_its_format(run, coordinator, tmp_path):
    (tmp_path / "p.jsonl").write_bytes(b'{"prompt":"a"}\n')

    await run("repair", "--model", "hf:org/m", "--prompts", f"{tmp_path}/p.jsonl@0:0.5", "--detach")

    prompts = coordinator.create_requests[0].spec.self_generated_pool.prompts
    assert coordinator.blobs[prompts.reference.removeprefix("artifact:")] == b'{"prompt":"a"}\n'
    assert (prompts.format, prompts.slice.end) == (types_pb2.DATASET_FORMAT_JSONL, 0.5)


async def test_out_holds_report_and_model(run, finished, tmp_path):
    finished()

    outcome = await run("watch", "latest", "--out", str(tmp_path / "out"))

    assert outcome.code == 0
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == [
        "model/config.json",
        "report/report.html",
        "report/report.json",
        "report/report.md",
    ]


async def test_a_failed_repair_is_told_with_its_reason(run, coordinator):
    name = coordinator.add_repair()
    failure = types_pb2.Failure(reason="LOSS_NOT_FINITE", message="The loss became NaN.", step="repair")
    await coordinator.finish(name, pb.REPAIR_STATE_FAILED, error=failure)

    outcome = await run("watch", "a1")

    assert outcome.code == 3
    assert "the repair failed in repair: The loss became NaN. (LOSS_NOT_FINITE)" in outcome.err


async def _watch_process(environment, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llm_repair.cli.main",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_ctrl_c_detaches_says_how_to_come_back_and_cancels_nothing(coordinator, environment):
    process = await _watch_process(environment, "repair", *COMMON)
    name = await coordinator.created.get()
    await coordinator.emit_step(name, "select", pb.STEP_STATE_RUNNING)
    assert (await process.stdout.readline()).startswith(b"repair r1")
    assert await process.stdout.readline() == b"select running\n"

    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 10)

    assert b"llm-repair watch r1" in out
    assert b"llm-repair cancel r1" in out
    assert err == b""
    assert process.returncode == 130
    assert coordinator.repairs[name].state == pb.REPAIR_STATE_RUNNING


async def test_a_second_ctrl_c_exits_without_a_trace(coordinator, environment):
    coordinator.add_repair()
    process = await _watch_process(environment, "watch", "a1")
    await coordinator.emit_step("projects/default/repairs/a1", "select", pb.STEP_STATE_RUNNING)
    await process.stdout.readline()

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 5)

    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in err
