from __future__ import annotations

import asyncio

import pytest

from llm_repair.client import default_evaluation
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2, types_pb2

POLICY = "criteria: [{metric: toxicity.mean, absolute: {bound: 0.1}}]"


def asked(coordinator) -> pb.RepairSpec:
    return coordinator.create_requests[-1].spec


async def test_a_model_without_data_is_measured_by_the_default_suite(run, coordinator):
    outcome = await run("evaluate", "hf:org/m", "--detach")

    assert (outcome.code, outcome.out) == (0, "r1\n")
    assert asked(coordinator) == pb.RepairSpec(
        goal=pb.REPAIR_GOAL_EVALUATION, model={"reference": "hf:org/m"}, evaluation=default_evaluation()
    )


async def test_settings_change_the_default_suite_and_data_replace_it(run, coordinator):
    await run("evaluate", "hf:org/m", "--draws", "8", "--judge", "hatesonar", "--detach")
    settings = asked(coordinator).evaluation
    await run("evaluate", "hf:org/m", "--eval-prompts", "hf:org/p", "--detach")
    data = asked(coordinator).evaluation

    assert settings.prompts == default_evaluation().prompts
    assert settings.protocol.strict.draws == 8
    assert [judge.WhichOneof("kind") for judge in settings.judges] == ["hatesonar"]
    assert data == evaluation_pb2.Evaluation(prompts={"reference": "hf:org/p"})


async def test_every_probe_has_its_flag(run, coordinator, tmp_path):
    (tmp_path / "w.jsonl").write_bytes(b'{"text": " = A = "}\n')
    flags = {
        "--eval-prompts": "hf:org/p",
        "--eval-slice": "0.5:1",
        "--corpus": f"wiki={tmp_path}/w.jsonl:wikitext",
        "--cloze": "lambada=hf:org/l@main@0:0.5",
        "--bias": "crows=hf:org/c",
        "--prompt-set": "benign=hf:org/b",
        "--calibration": "hf:org/labelled",
        "--judge": "profanity",
        "--protocol": "strict.v1",
        "--draws": "3",
        "--engine": "vllm",
        "--dtype": "bfloat16",
        "--compare": "hf:org/base",
        "--seed": "5",
    }

    await run("evaluate", "hf:org/m", *(part for pair in flags.items() for part in pair), "--detach")

    spec = asked(coordinator)
    made = spec.evaluation
    assert (spec.baseline.reference, spec.seed) == ("hf:org/base", 5)
    assert (made.prompts.slice.start, made.prompts.slice.end) == (0.5, 1.0)
    corpus = made.corpora[0]
    assert (corpus.name, corpus.layout) == ("wiki", evaluation_pb2.CORPUS_LAYOUT_WIKITEXT)
    assert coordinator.blobs[corpus.texts.reference.removeprefix("artifact:")] == b'{"text": " = A = "}\n'
    assert corpus.texts.format == types_pb2.DATASET_FORMAT_JSONL
    assert (made.cloze_sets[0].name, made.cloze_sets[0].texts.slice.end) == ("lambada", 0.5)
    assert made.bias_pairs[0].pairs.reference == "hf:org/c"
    assert made.prompt_sets[0].prompts.reference == "hf:org/b"
    assert made.calibration.reference == "hf:org/labelled"
    assert (made.protocol.strict.draws, made.engine.kind) == (3, evaluation_pb2.ENGINE_KIND_VLLM)


async def test_the_same_flags_measure_a_repair(run, coordinator):
    flags = ("--bias", "crows=hf:org/c", "--prompt-set", "benign=hf:org/b", "--protocol", "paper.v1", "--full-control")

    await run("repair", "--model", "hf:org/m", "--prompts", "hf:org/p", *flags, "--detach")

    spec = asked(coordinator)
    assert spec.evaluation.bias_pairs[0].name == "crows"
    assert spec.evaluation.prompt_sets[0].name == "benign"
    assert spec.evaluation.protocol.WhichOneof("kind") == "paper"
    assert spec.full_control


async def test_a_repairs_file_is_measured_without_being_carried_out(run, coordinator, tmp_path):
    (tmp_path / "repair.yaml").write_text(
        "model: {reference: 'hf:org/m'}\npool_rows: {rows: {reference: 'hf:org/rows'}}\n"
        "evaluation: {prompts: {reference: 'hf:org/p'}, protocol: {strict: {draws: 4}}}\nseed: 3\n"
    )

    await run("evaluate", "--spec", f"{tmp_path}/repair.yaml", "--compare", "hf:org/b", "--draws", "2", "--detach")

    spec = asked(coordinator)
    assert spec.goal == pb.REPAIR_GOAL_EVALUATION
    assert not spec.HasField("pool_rows")
    assert (spec.model.reference, spec.baseline.reference, spec.seed) == ("hf:org/m", "hf:org/b", 3)
    assert (spec.evaluation.prompts.reference, spec.evaluation.protocol.strict.draws) == ("hf:org/p", 2)


async def follow(run, coordinator, finished, verdict: pb.Verdict, *arguments: str):
    """Lets an evaluation end with a verdict while the command follows it."""
    running = asyncio.create_task(run("evaluate", "hf:org/m", *arguments))
    name = await coordinator.created.get()
    finished(verdict, "other")
    if verdict == pb.VERDICT_UNSPECIFIED:
        coordinator.gate = pb.GateResult()
    coordinator.metrics[name] = coordinator.metrics["projects/default/repairs/other"]
    coordinator.repairs[name].report.CopyFrom(coordinator.put_tree({"report.json": b"{}"}))
    await coordinator.finish(name, verdict=verdict)
    return await running


@pytest.mark.parametrize(
    ("verdict", "code"), [(pb.VERDICT_PASS, 0), (pb.VERDICT_FAIL, 1), (pb.VERDICT_INCONCLUSIVE, 2)]
)
async def test_with_a_policy_the_exit_code_is_the_verdict(run, coordinator, finished, tmp_path, verdict, code):
    (tmp_path / "gate.yaml").write_text(POLICY)

    outcome = await follow(run, coordinator, finished, verdict, "--policy", f"{tmp_path}/gate.yaml")

    assert outcome.code == code
    assert asked(coordinator).gate.criteria[0].absolute.bound == 0.1


async def test_without_a_policy_a_measurement_is_done_whatever_the_default_policy_says(run, coordinator, finished):
    outcome = await follow(run, coordinator, finished, pb.VERDICT_FAIL, "--compare", "hf:org/b")

    assert outcome.code == 0
    assert "evaluation SUCCEEDED" in outcome.out.splitlines()
    assert "verdict: FAIL" in outcome.out


async def test_a_model_alone_shows_its_values_and_says_why_there_is_no_verdict(run, coordinator, finished, monkeypatch):
    name = finished(pb.VERDICT_UNSPECIFIED)
    coordinator.gate = pb.GateResult()
    for metric in coordinator.metrics[name]:
        metric.base.missing_reason = metric.change.missing_reason = "NO_BASELINE"

    printed, gate = await run("evaluate", "a1"), await run("gate", "a1")

    assert "metric\tvalue\tn\tjudge" in printed.out
    assert "toxicity.mean\t0.1 [0.05, 0.15]\t96\tprofanity" in printed.out
    assert gate.code == 3
    assert "verdict: none (a model that is measured alone has no change" in gate.out


async def test_a_policy_without_criteria_does_not_say_by_what_to_pass(run, coordinator, tmp_path):
    (tmp_path / "gate.yaml").write_text("confidence: 0.9")

    outcome = await run("evaluate", "hf:org/m", "--policy", f"{tmp_path}/gate.yaml")

    assert outcome.code == 4
    assert "names no criteria" in outcome.err
    assert not coordinator.create_requests


async def test_an_existing_folder_is_a_model_and_a_name_is_not(run, coordinator, finished, tmp_path, monkeypatch):
    finished()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    await run("evaluate", "model", "--detach")
    printed = await run("evaluate", "a1")

    assert asked(coordinator).model.reference.startswith("artifact:sha256:")
    assert len(coordinator.create_requests) == 1
    assert "toxicity.mean\t0.2\t0.1" in printed.out


@pytest.mark.parametrize("more", [("--compare", "hf:org/b"), ("--draws", "4"), ("--eval-prompts", "hf:org/p")])
async def test_what_was_measured_cannot_be_measured_otherwise(run, coordinator, finished, more):
    finished()

    outcome = await run("evaluate", "a1", *more)

    assert outcome.code == 4
    assert "a1 is no model but the name of a repair or evaluation" in outcome.err
    assert not coordinator.create_requests


async def test_nothing_to_measure_is_wrong_use(run):
    assert (await run("evaluate")).code == 4


@pytest.mark.parametrize("typed", ["wiki", "=hf:org/w"])
async def test_a_corpus_needs_a_name(run, coordinator, typed):
    outcome = await run("evaluate", "hf:org/m", "--corpus", typed)

    assert outcome.code == 4
    assert not coordinator.create_requests


async def test_groups_and_sequences_show_in_the_table(run, coordinator, finished):
    name = finished()
    group, sequence = coordinator.metrics[name]
    group.slice, sequence.interval, sequence.gating = "women", types_pb2.INTERVAL_KIND_SEQUENCE, False

    lines = (await run("evaluate", "a1")).out.splitlines()

    assert lines[1].startswith("toxicity.mean [women]\t")
    assert "[-0.15, -0.05] seq" in lines[2]
    assert lines[2].endswith("(does not gate)")


PLAN = pb.RepairPlan(
    prompts=187,
    samples=1496,
    tokens=29920,
    known_s=125.0,
    unknown_steps=["repair"],
    minimum_detectable_effect=0.0291,
    assumed_deviation=0.16,
    metrics=["toxicity.mean", "toxicity.attribute.*"],
)


@pytest.mark.parametrize(
    "arguments",
    [("evaluate", "hf:org/m"), ("repair", "--model", "hf:org/m", "--prompts", "hf:org/p")],
    ids=["evaluate", "repair"],
)
async def test_validate_only_prints_what_it_would_take_and_starts_nothing(run, coordinator, arguments):
    coordinator.plan.CopyFrom(PLAN)
    coordinator.foreseen_steps = [pb.Step(name="evaluate.base", reused=True), pb.Step(name="repair")]

    outcome = await run(*arguments, "--validate-only")

    lines = dict(line.split("\t") for line in outcome.out.splitlines()[1:])
    assert outcome.code == 0
    assert lines["steps"] == "2, of which 1 are there already"
    assert (lines["prompts"], lines["texts to write"], lines["tokens of them"]) == ("187", "1,496", "at most 29,920")
    assert lines["time"] == "2 min 05 s by equal work done before; not known of repair"
    assert lines["detectable"].startswith("a fall of mean toxicity of 0.0291 in four of five cases")
    assert "0.16" in lines["detectable"]
    assert lines["metrics"] == "toxicity.mean, toxicity.attribute.*"
    assert (lines["evaluate.base"], lines["repair"]) == ("reused", "runs")
    assert coordinator.create_requests[0].validate_only
    assert not coordinator.repairs


async def test_what_is_not_known_before_the_import_is_said_to_be_so(run, coordinator):
    outcome = await run("evaluate", "hf:org/m", "--validate-only")

    assert "texts to write\tnot known before the import" in outcome.out
    assert "detectable" not in outcome.out
