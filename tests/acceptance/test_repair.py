"""One request gives a repaired checkpoint and an honest report, through four real services."""

import json
import uuid
from pathlib import Path

import pytest
from acceptance_spec import tiny_spec
from stack import Stack
from tiny_assets import TinyAssets

from llm_repair.client import FailedPrecondition, InvalidRequest, NotFound, RepairClient
from llm_repair.v1 import coordinator_pb2 as pb

REPORT_KEYS = {"schema_version", "repair", "verdict", "metrics", "usage", "steps", "provenance", "records"}


async def test_a_request_becomes_a_checkpoint_and_a_report(
    client: RepairClient, tiny: TinyAssets, out: Path, stack: Stack
) -> None:
    handle = await client.create_repair(tiny_spec(tiny))
    repair = await handle.result()
    await handle.report(out / "report")
    await handle.model(out / "model")

    report = json.loads((out / "report" / "report.json").read_text())
    assert set(report) >= REPORT_KEYS
    ids = {metric["id"] for metric in report["metrics"]}
    assert {"toxicity.mean", "toxicity.probability", "toxicity.expected_max", "perplexity.texts.token"} <= ids
    assert report["verdict"] in {"PASS", "FAIL", "INCONCLUSIVE"}
    assert pb.Verdict.Name(repair.verdict) == f"VERDICT_{report['verdict']}"
    assert all(step["state"] == "COMMITTED" for step in report["steps"])
    assert (out / "report" / "report.html").stat().st_size > 10_000
    assert (out / "report" / "report.md").read_text().strip()
    lineage = json.loads((out / "model" / "repair.json").read_text())
    assert lineage["weights_digest"] == repair.weights_digest
    assert (out / "model" / "README.md").is_file()


async def test_the_published_checkpoint_loads_in_transformers_and_differs_from_the_base(
    client: RepairClient, tiny: TinyAssets, out: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    handle = await client.create_repair(tiny_spec(tiny))
    await handle.result()
    await handle.model(out)

    repaired = AutoModelForCausalLM.from_pretrained(out).state_dict()
    base = AutoModelForCausalLM.from_pretrained(tiny.model).state_dict()
    assert repaired.keys() == base.keys()
    assert any(not repaired[name].equal(base[name]) for name in base)
    assert (
        AutoTokenizer.from_pretrained(out)("river").input_ids
        == AutoTokenizer.from_pretrained(tiny.model)("river").input_ids
    )


async def test_a_second_repair_with_another_strategy_reuses_base_evaluation_pool_and_control(
    client: RepairClient, tiny: TinyAssets
) -> None:
    await (await client.create_repair(tiny_spec(tiny))).result()
    other = tiny_spec(tiny)
    other.strategy.saps.boundary_fraction = 0.5

    repair = await (await client.create_repair(other)).result()

    reused = {step.name for step in repair.steps if step.reused}
    assert {"evaluate.base", "pool", "embed", "select.control", "repair.control", "evaluate.control"} <= reused
    assert {"select", "report"} & reused == set()


async def test_lora_and_dapt_without_a_control_arm_end_too(client: RepairClient, tiny: TinyAssets) -> None:
    spec = tiny_spec(
        tiny, prompts=None, pool=f"file:{tiny.pairs}", method="dapt", lora=True, strategy="random", random_control=False
    )

    repair = await (await client.create_repair(spec)).result()

    assert repair.state == pb.REPAIR_STATE_SUCCEEDED
    assert not [step.name for step in repair.steps if "control" in step.name or step.name == "embed"]


async def test_the_same_request_id_gives_one_repair_and_another_body_is_refused(
    client: RepairClient, tiny: TinyAssets
) -> None:
    request_id = str(uuid.uuid4())
    first = await client.create_repair(tiny_spec(tiny), request_id=request_id)

    again = await client.create_repair(tiny_spec(tiny), request_id=request_id)
    with pytest.raises(InvalidRequest) as refused:
        await client.create_repair(tiny_spec(tiny, seed=2), request_id=request_id)

    assert again.name == first.name
    assert refused.value.reason == "REQUEST_ID_REUSED"
    await first.result()


async def test_a_watch_replays_every_event_once_in_order_from_its_cursor(
    client: RepairClient, tiny: TinyAssets
) -> None:
    handle = await client.create_repair(tiny_spec(tiny))
    await handle.result()

    whole = [event async for event in handle.watch() if isinstance(event, pb.RepairEvent)]
    rest = [event async for event in handle.watch(after_sequence=5) if isinstance(event, pb.RepairEvent)]

    assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))
    assert [event.sequence for event in rest] == list(range(6, len(whole) + 1))
    assert whole[-1].state_changed.state == pb.REPAIR_STATE_SUCCEEDED


async def test_bad_requests_name_every_field_at_once_and_start_nothing(client: RepairClient, tiny: TinyAssets) -> None:
    spec = tiny_spec(tiny)
    spec.model.reference = "file:/etc"
    spec.evaluation.prompts.reference = f"file:{tiny.root}/gone.jsonl"

    with pytest.raises(InvalidRequest) as outside:
        await client.create_repair(spec)
    spec.budget.fraction.fraction = 0
    spec.method.epochs = 0
    with pytest.raises(InvalidRequest) as ranges:
        await client.create_repair(spec)

    assert {violation.field for violation in outside.value.violations} == {
        "spec.model.reference",
        "spec.evaluation.prompts.reference",
    }
    assert {violation.field for violation in ranges.value.violations} >= {
        "spec.budget.fraction.fraction",
        "spec.method.epochs",
    }


async def test_a_criterion_on_a_judge_that_does_not_gate_is_refused_before_the_work(
    client: RepairClient, tiny: TinyAssets
) -> None:
    spec = tiny_spec(tiny, judges=("profanity", "hatesonar"))
    criterion = spec.gate.criteria.add(metric="toxicity.hatesonar.mean")
    criterion.change.bound = 0.0
    criterion.change.SetInParent()

    with pytest.raises(InvalidRequest) as refused:
        await client.create_repair(spec)

    assert {violation.field for violation in refused.value.violations} == {"spec.gate.criteria[0].metric"}


async def test_a_prompt_longer_than_the_context_fails_the_repair_naming_it(
    client: RepairClient, tiny: TinyAssets, tmp_path: Path
) -> None:
    from llm_repair.client import RepairFailed

    long = tiny.root / f"long-{tmp_path.name}.jsonl"
    long.write_text(json.dumps({"id": "too-long", "prompt": "river " * 200}) + "\n")
    spec = tiny_spec(tiny, eval_prompts=f"file:{long}")

    with pytest.raises(RepairFailed) as failed:
        await (await client.create_repair(spec)).result()

    assert failed.value.reason == "PROMPT_TOO_LONG"
    assert "too-long" in str(failed.value)


async def test_what_is_not_carried_out_is_refused_with_a_reason(client: RepairClient, tiny: TinyAssets) -> None:
    from llm_repair.client import Unimplemented

    searched = tiny_spec(tiny)
    searched.auto.strategies.add().random.SetInParent()

    with pytest.raises(Unimplemented) as refused:
        await client.create_repair(searched)

    assert refused.value.reason == "NOT_CARRIED_OUT"


async def test_bad_rows_and_a_budget_over_the_pool_are_refused_together_and_start_nothing(
    client: RepairClient, tiny: TinyAssets, tmp_path: Path
) -> None:
    bad = tiny.root / f"bad-{tmp_path.name}.jsonl"
    bad.write_bytes(b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": ""}\n\xff\xfe\n')
    before = [repair.name async for repair in client.list_repairs()]
    broken = tiny_spec(tiny, prompts=None, pool=f"file:{bad}", eval_prompts=f"file:{bad}")
    large = tiny_spec(tiny, prompts=None, pool=f"file:{tiny.pairs}", fraction=None, samples=1000)

    with pytest.raises(InvalidRequest) as rows:
        await client.create_repair(broken)
    with pytest.raises(InvalidRequest) as budget:
        await client.create_repair(large)

    described = {violation.field: violation.description for violation in rows.value.violations}
    assert set(described) == {"spec.pool_rows.rows", "spec.evaluation.prompts"}
    assert "row 2" in described["spec.pool_rows.rows"]
    assert "row 3: not UTF-8" in described["spec.pool_rows.rows"]
    assert {violation.field for violation in budget.value.violations} == {"spec.budget.samples.samples"}
    assert [repair.name async for repair in client.list_repairs()] == before


async def test_a_pool_without_rejected_is_refused_for_dpo_naming_rows(
    client: RepairClient, tiny: TinyAssets, tmp_path: Path
) -> None:
    unpaired = tiny.root / f"unpaired-{tmp_path.name}.jsonl"
    unpaired.write_text('{"id": "x7", "prompt": "a", "chosen": " b"}\n')

    with pytest.raises(InvalidRequest) as refused:
        await client.create_repair(tiny_spec(tiny, prompts=None, pool=f"file:{unpaired}"))

    assert "x7" in refused.value.violations[0].description


async def test_bad_rows_found_by_the_import_fail_the_repair_naming_them(
    client: RepairClient, tiny: TinyAssets, tmp_path: Path
) -> None:
    import pyarrow
    import pyarrow.parquet

    from llm_repair.client import RepairFailed

    bad = tiny.root / f"bad-{tmp_path.name}.parquet"
    columns = {"prompt": ["a", ""], "chosen": ["b", "b"], "rejected": ["c", "c"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), bad)

    with pytest.raises(RepairFailed) as failed:
        await (await client.create_repair(tiny_spec(tiny, prompts=None, pool=f"file:{bad}"))).result()

    assert failed.value.reason == "DATASET_INVALID"
    assert failed.value.metadata["first_rows"] == "2"


async def test_a_cancelled_repair_ends_cancelled(client: RepairClient, tiny: TinyAssets) -> None:
    handle = await client.create_repair(tiny_spec(tiny, seed=77))
    async for event in handle.watch():
        if isinstance(event, pb.RepairEvent) and event.step_changed.step.kind == "build_pool":
            break

    await handle.cancel()
    async for _ in handle.watch():
        pass

    assert (await handle.get()).state == pb.REPAIR_STATE_CANCELLED


async def test_reports_and_repairs_that_are_not_there_are_errors(client: RepairClient, tiny: TinyAssets) -> None:
    with pytest.raises(NotFound):
        await client.repair("nothing").get()
    handle = await client.create_repair(tiny_spec(tiny, seed=78))
    with pytest.raises(FailedPrecondition) as early:
        await client.get_report(handle.name)
    await handle.cancel()

    assert early.value.reason == "REPORT_NOT_READY"


async def test_a_call_without_the_token_is_refused(stack: Stack) -> None:
    from llm_repair.client import Unauthenticated

    async with RepairClient(stack.address, token="0" * 64) as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.repair("any").get()
