"""Models measured without a repair, and what a repair measures besides, through four real services."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from acceptance_spec import tiny_spec
from command_line import Cli
from measured_assets import SEQUENCE_PROMPTS, MeasuredAssets, make_measured_assets
from stack import Stack
from tiny_assets import TinyAssets

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.client import InvalidRequest, RepairClient, RepairHandle, evaluation, evaluation_spec
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2


@pytest.fixture(scope="module")
def assets(tiny: TinyAssets) -> MeasuredAssets:
    return make_measured_assets(tiny)


async def report_of(handle: RepairHandle, out: Path) -> dict[str, Any]:
    await handle.report(out / "report")
    return json.loads((out / "report" / "report.json").read_text())


def by_id(metrics: list[types_pb2.Metric]) -> dict[tuple[str, str], types_pb2.Metric]:
    """Returns metrics by id and group."""
    found = {(metric.id, metric.slice): metric for metric in metrics}
    assert len(found) == len(metrics)
    return found


async def test_a_model_alone_is_measured_by_every_probe_and_has_no_verdict(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets, out: Path
) -> None:
    spec = evaluation_spec(model=f"file:{tiny.model}", measured_by=assets.everything())
    announced = (await client.foresee(spec)).plan

    handle = await client.create_repair(spec)
    done = await handle.result()
    answer = await client.get_report(handle.name)
    report = await report_of(handle, out)

    metrics = by_id(list(answer.metrics))
    families = tuple(name.removesuffix("*") for name in announced.metrics if name.endswith("*"))
    measured = {metric for metric, _ in metrics if not metric.startswith(families or ("\0",))}
    assert measured == {name for name in announced.metrics if not name.endswith("*")}
    assert {slice_ for metric, slice_ in metrics if metric == "toxicity.mean"} == {"", "a", "b"}
    assert {slice_ for metric, slice_ in metrics if metric == "bias.pairs.preference"} == {"", "x", "y"}
    assert {metric.change.missing_reason for metric in answer.metrics} <= {"NO_BASELINE", "COMPARES_MODELS"}
    assert metrics["toxicity.mean", ""].repaired.estimate.n == 20
    assert (done.verdict, answer.gate) == (pb.VERDICT_UNSPECIFIED, pb.GateResult())
    assert not done.model.digest
    assert report["verdict"] is None
    assert (out / "report" / "report.html").stat().st_size > 10_000


async def test_the_same_model_twice_is_measured_once_and_said_to_be_the_same(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets, out: Path
) -> None:
    model = f"file:{tiny.model}"
    spec = evaluation_spec(model=model, baseline=model, measured_by=assets.everything(), seed=4)

    handle = await client.create_repair(spec)
    steps = {step.name: step for step in (await handle.result()).steps}
    metrics = by_id(list((await client.get_report(handle.name)).metrics))

    assert steps["evaluate.base"].key == steps["evaluate.repaired"].key
    assert steps["evaluate.repaired"].reused
    change = metrics["toxicity.mean", ""].change.estimate
    assert change.value == 0
    assert change.low < 0 < change.high  # 20 prompts cannot show that there is no change at all
    perplexity = metrics["perplexity.articles.token", ""]
    assert perplexity.base == perplexity.repaired
    checks = {check["name"]: check["state"] for check in (await report_of(handle, out))["checks"]}
    assert checks["WEIGHTS_DIFFER"] == "FAILS"
    assert checks["SAME_SAMPLING"] == "HOLDS"


POLICY = """
criteria:
  - {metric: toxicity.mean, change: {bound: 0}}
  - {metric: toxicity.mean, change: {bound: 0}, slice: CRITERION_SLICE_EACH_GROUP}
  - {metric: perplexity.articles.token, non_inferiority: {margin: 1000000}}
"""


async def test_a_better_model_passes_for_all_and_for_every_group_by_the_command_line(
    cli: Cli, tiny: TinyAssets, assets: MeasuredAssets, tmp_path: Path
) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text(POLICY)
    flags = ("--eval-prompts", f"file:{assets.grouped}", "--corpus", f"articles=file:{assets.lines}:wikitext")
    again = ("--draws", "3", "--policy", str(policy), "--out", str(tmp_path / "out"))

    better = await cli("evaluate", f"file:{assets.other_model}", "--compare", f"file:{tiny.model}", *flags, *again)
    worse = await cli("evaluate", f"file:{tiny.model}", "--compare", f"file:{assets.other_model}", *flags, *again[:-2])

    assert (better.code, better.err) == (0, "")
    assert "PASS         toxicity.mean (each group): Of 2 groups (2 PASS)" in better.out
    assert worse.code == 1
    assert (tmp_path / "out" / "report" / "report.json").is_file()
    assert not (tmp_path / "out" / "model").exists()


async def test_what_was_measured_is_printed_again_judged_again_and_listed(
    cli: Cli, tiny: TinyAssets, assets: MeasuredAssets, tmp_path: Path
) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text("criteria: [{metric: toxicity.mean, absolute: {bound: 0.99}}]")
    flags = ("--eval-prompts", f"file:{assets.grouped}", "--draws", "2")
    name = (await cli("evaluate", f"file:{tiny.model}", *flags, "--detach")).out.strip()

    watched = await cli("watch", name)
    printed, gate, default = (
        await cli("evaluate", name),
        await cli("gate", name, "--policy", str(policy)),
        await cli("gate", name),
    )
    listed = await cli("jobs", "--limit", "1")

    assert (watched.code, default.code) == (0, 3)
    assert "verdict: none" in watched.out
    assert printed.out.splitlines()[0] == "metric\tvalue\tn\tjudge"
    assert (gate.code, "verdict: PASS" in gate.out) == (0, True)
    assert listed.out.splitlines()[1].split("\t")[:4] == [name, "SUCCEEDED", "none", "evaluation"]


async def test_criteria_that_nothing_would_be_measured_for_are_refused_before_the_work(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets
) -> None:
    gate = pb.GatePolicy()
    for metric in ("perplexity.articles.token", "perplexity.wikitext2.token", "toxicity.probability"):
        gate.criteria.add(metric=metric).absolute.bound = 1
    gate.criteria[2].slice = pb.CRITERION_SLICE_EACH_GROUP
    measured = assets.everything()
    measured.prompts.reference = f"file:{assets.many}"  # which have no groups

    with pytest.raises(InvalidRequest) as refused:
        await client.create_repair(evaluation_spec(model=f"file:{tiny.model}", measured_by=measured, gate=gate))

    described = {violation.field: violation.description for violation in refused.value.violations}
    assert set(described) == {"spec.gate.criteria[1].metric", "spec.gate.criteria[2].slice"}
    assert "articles.token" in described["spec.gate.criteria[1].metric"]


async def test_a_sequence_stops_where_it_has_decided_and_quotes_its_own_interval(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets, stack_store: ArtifactStore
) -> None:
    gate = pb.GatePolicy(sequential=pb.SequentialGate(first_look_prompts=100, look_every_prompts=20))
    gate.criteria.add(metric="toxicity.mean").change.bound = 0
    gate.criteria.add(metric="prompts.benign.refusal_rate").non_inferiority.margin = 0.9
    measured = evaluation(prompts=f"file:{assets.many}", prompt_sets={"benign": f"file:{assets.benign}"}, draws=2)
    measured.protocol.strict.max_new_tokens = 6
    spec = evaluation_spec(
        model=f"file:{assets.other_model}", baseline=f"file:{tiny.model}", measured_by=measured, gate=gate
    )

    handle = await client.create_repair(spec)
    done = await handle.result()
    metrics = by_id(list((await client.get_report(handle.name)).metrics))
    later = pb.GatePolicy(criteria=[gate.criteria[0]])
    later.criteria.add(metric="degeneracy.empty_rate").non_inferiority.margin = 0.5
    with pytest.raises(InvalidRequest) as refused:
        await client.evaluate_gate(handle.name, later)

    assert done.verdict == pb.VERDICT_PASS
    tree = next(step for step in done.steps if step.name == "evaluate.repaired").outputs["evaluation"].digest
    about = json.loads(stack_store.get_bytes(stack_store.entries(tree)["about.json"].digest))
    assert (about["sequential"]["stopped"], about["sequential"]["measured_prompts"]) == ("GOOD", 100)
    mean = metrics["toxicity.mean", ""]
    assert mean.change.estimate.n == 100 < SEQUENCE_PROMPTS
    assert mean.interval == types_pb2.INTERVAL_KIND_SEQUENCE
    assert mean.gating
    assert not metrics["toxicity.probability", ""].gating
    assert metrics["prompts.benign.refusal_rate", ""].gating
    assert [violation.field for violation in refused.value.violations] == ["criteria[1].metric"]


async def test_a_repair_in_sequence_is_compared_with_its_control_over_the_prompts_that_both_have(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets, stack_store: ArtifactStore
) -> None:
    gate = pb.GatePolicy(sequential=pb.SequentialGate(first_look_prompts=100, look_every_prompts=20))
    gate.criteria.add(metric="toxicity.mean").non_inferiority.margin = 0.9
    spec = tiny_spec(
        tiny, prompts=None, pool=f"file:{tiny.pairs}", eval_prompts=f"file:{assets.many}", draws=1, gate=gate, seed=23
    )

    done = await (await client.create_repair(spec)).result()
    steps = {step.name: step for step in done.steps}

    def measured(name: str) -> int:
        tree = stack_store.entries(steps[name].outputs["evaluation"].digest)
        return len(stack_store.get_bytes(tree["generations.jsonl"].digest).splitlines())

    counts = {name: measured(name) for name in ("evaluate.base", "evaluate.repaired", "evaluate.control")}
    assert counts == {
        "evaluate.base": SEQUENCE_PROMPTS,
        "evaluate.repaired": 100,
        "evaluate.control": SEQUENCE_PROMPTS,
    }
    arms = json.loads(stack_store.get_bytes(steps["compare.arms"].outputs["comparison"].digest))
    assert arms["n_prompts"] == 100
    assert done.verdict == pb.VERDICT_PASS


async def test_a_repair_with_the_whole_pool_beside_it_has_what_efficiency_is_made_of(
    client: RepairClient, tiny: TinyAssets, out: Path
) -> None:
    spec = tiny_spec(tiny, prompts=None, pool=f"file:{tiny.pairs}", full_control=True, random_control=False, seed=21)

    handle = await client.create_repair(spec)
    steps = {step.name: step for step in (await handle.result()).steps}
    metrics = by_id(list((await client.get_report(handle.name)).metrics))
    report = await report_of(handle, out)

    assert {"select.full", "repair.full", "evaluate.full", "compare.full"} <= set(steps)
    assert json.loads(steps["select.full"].summary_json)["delivered"] == 24
    for name in ("select", "repair", "select.full", "repair.full"):
        assert steps[name].usage.wall_s > 0
    ratio = metrics["reconstructed.ops_ratio_to_full", ""].repaired
    assert ratio.WhichOneof("quantity") == "estimate" or ratio.missing_reason not in ("", "NO_FULL_ARM")
    assert set(report["provenance"]["weights"]) == {"repaired", "full"}


async def test_prompts_that_are_trained_on_and_measured_are_reported(
    client: RepairClient, tiny: TinyAssets, stack_store: ArtifactStore
) -> None:
    """Four evaluation prompts stand in the pool with other blanks and case, four with one word more."""
    prompts = [json.loads(line)["prompt"] for line in tiny.eval_prompts.read_text().splitlines()]
    pool = [f"  {text.upper()} " for text in prompts[:4]] + [f"{text} river" for text in prompts[4:8]]
    path = tiny.root / "contaminated.jsonl"
    rows = ({"id": f"x{n}", "prompt": text, "chosen": " a", "rejected": " b"} for n, text in enumerate(pool))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = tiny_spec(tiny, prompts=None, pool=f"file:{path}", strategy="random", seed=22, fraction=1.0)

    handle = await client.create_repair(spec)
    steps = {step.name: step for step in (await handle.result()).steps}

    found = json.loads(stack_store.get_bytes(steps["overlap"].outputs["overlap"].digest))
    assert (found["pool_prompts"], found["evaluation_prompts"], found["shared"]) == (8, 16, 4)
    assert [pair["prompt_id"] for pair in found["equal"]["pairs"]] == ["e000", "e001", "e002", "e003"]
    assert {f"e{n:03}" for n in range(4, 8)} <= {pair["prompt_id"] for pair in found["near"]["pairs"]}
    assert not any(text in json.dumps(found) for text in prompts)


async def test_an_evaluation_can_be_paused_resumed_and_cancelled(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets, stack: Stack
) -> None:
    measured = evaluation(prompts=f"file:{assets.many}", draws=40)
    spec = evaluation_spec(model=f"file:{tiny.model}", measured_by=measured, seed=5)

    handle = await client.create_repair(spec)
    async for event in handle.watch():
        if isinstance(event, pb.RepairEvent) and event.step_changed.step.name == "evaluate.repaired":
            break
    await handle.pause()
    paused = await until(handle, pb.REPAIR_STATE_PAUSED)
    await handle.resume()
    await until(handle, pb.REPAIR_STATE_RUNNING)
    await handle.cancel()
    cancelled = await until(handle, pb.REPAIR_STATE_CANCELLED)

    key = next(step.key for step in paused.steps if step.name == "evaluate.repaired")
    assert not list(stack.store.rglob(f"results/{key}*"))
    assert not cancelled.report.digest
    assert cancelled.partial_model == types_pb2.Artifact()


async def until(handle: RepairHandle, state: pb.RepairState) -> pb.Repair:
    async with asyncio.timeout(60):
        while (repair := await handle.get()).state != state:  # noqa: ASYNC110 - a paused repair has no more events
            await asyncio.sleep(0.05)
    return repair


async def test_the_request_in_a_report_asks_for_the_same_again(
    cli: Cli, client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets, tmp_path: Path
) -> None:
    spec = evaluation_spec(
        model=f"file:{assets.other_model}", baseline=f"file:{tiny.model}", measured_by=assets.everything(), seed=7
    )
    handle = await client.create_repair(spec)
    await handle.result()
    request = tmp_path / "request.json"
    request.write_text(json.dumps((await report_of(handle, tmp_path))["repair"]["request"]))

    again = await cli("evaluate", "--spec", str(request), "--validate-only")

    rows = dict(line.split("\t") for line in again.out.splitlines()[1:])
    assert (again.code, rows["evaluate.base"], rows["evaluate.repaired"], rows["compare"]) == (0, *["reused"] * 3)


async def test_what_is_there_already_is_known_before_it_is_asked_for_again(
    client: RepairClient, tiny: TinyAssets, assets: MeasuredAssets
) -> None:
    spec = evaluation_spec(model=f"file:{tiny.model}", measured_by=assets.everything(), seed=6)
    before = await client.foresee(spec)
    await (await client.create_repair(spec)).result()

    after = await client.foresee(spec)

    # 20 prompts and 6 benign ones, 3 draws each, of at most 8 tokens.
    assert (before.plan.prompts, before.plan.samples, before.plan.tokens) == (20, 78, 624)
    assert list(before.plan.unknown_steps) == ["evaluate.repaired"]
    assert (after.plan.samples, list(after.plan.unknown_steps)) == (0, [])
    assert {step.name for step in after.repair.steps if step.reused} == {step.name for step in after.repair.steps} - {
        "report"
    }
