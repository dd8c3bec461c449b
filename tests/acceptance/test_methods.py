"""Every repair method of the registry repairs the tiny model through four real services."""

import json
from pathlib import Path

import pytest
from acceptance_spec import tiny_spec
from tiny_assets import TinyAssets

from llm_repair.client import RepairClient
from llm_repair.core.registry import METHODS
from llm_repair.v1 import coordinator_pb2 as pb

KL_METHODS = {"dapt_kl", "irepair_kl"}


def method_spec(tiny: TinyAssets, method: str, **changes: object) -> pb.RepairSpec:
    """Returns a request by rows and without a control arm, so that the method's own steps are all there is."""
    options = {"prompts": None, "pool": f"file:{tiny.pairs}", "strategy": "random", "random_control": False, **changes}
    spec = tiny_spec(tiny, method=method, **options)
    spec.method.utility_texts = 12
    spec.method.utility_tokens = 10
    return spec


def step_of(repair: pb.Repair, name: str) -> pb.Step | None:
    return next((step for step in repair.steps if step.name == name), None)


async def assert_repaired(client: RepairClient, spec: pb.RepairSpec, base: Path, out: Path) -> pb.Repair:
    """Repairs, and checks that there is a verdict and a changed model that loads; returns the repair."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    handle = await client.create_repair(spec)
    repair = await handle.result()
    await handle.model(out)

    assert repair.verdict in (pb.VERDICT_PASS, pb.VERDICT_FAIL, pb.VERDICT_INCONCLUSIVE)
    repaired, before = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (out, base))
    assert repaired.keys() == before.keys()
    assert any(not repaired[name].equal(before[name]) for name in before)
    assert AutoTokenizer.from_pretrained(out)("river").input_ids
    return repair


@pytest.mark.parametrize("method", [entry.name for entry in METHODS])
async def test_a_method_repairs_reports_and_leaves_a_model_that_loads(
    method: str, client: RepairClient, tiny: TinyAssets, out: Path
) -> None:
    repair = await assert_repaired(client, method_spec(tiny, method), tiny.model, out)

    utility = step_of(repair, "utility")
    assert (utility is not None) == (method in KL_METHODS)
    if utility is not None:
        summary = json.loads(utility.summary_json)
        assert summary["texts"] + summary["blank"] == 12


async def test_a_kl_term_is_taken_on_texts_that_are_brought(client: RepairClient, tiny: TinyAssets, out: Path) -> None:
    spec = method_spec(tiny, "dapt_kl", utility=f"file:{tiny.texts}")

    repair = await assert_repaired(client, spec, tiny.model, out)

    assert step_of(repair, "utility") is None
    brought, trained = step_of(repair, "import.utility"), step_of(repair, "repair")
    assert brought is not None
    assert trained is not None
    assert json.loads(brought.summary_json)["rows"] == json.loads(trained.summary_json)["utility_texts"]


async def test_kto_repairs_with_labelled_rows_of_which_none_is_a_pair(
    client: RepairClient, tiny: TinyAssets, out: Path, tmp_path: Path
) -> None:
    pairs = [json.loads(line) for line in tiny.pairs.read_text().splitlines()]
    rows = [
        {"id": pair["id"], "prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for number, pair in enumerate(pairs)
        for side in (("chosen", "rejected")[number % 2],)
    ]
    labelled = tiny.root / "labelled.jsonl"
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows))

    repair = await assert_repaired(
        client, method_spec(tiny, "kto", pool=f"file:{labelled}", fraction=1.0), tiny.model, out
    )

    trained = step_of(repair, "repair")
    assert trained is not None
    summary = json.loads(trained.summary_json)
    assert summary["undesirable_samples"] == len(rows) // 2
    assert summary["samples"] + summary["validation_samples"] == len(rows)


async def test_the_papers_training_constants_repair_too(client: RepairClient, tiny: TinyAssets, out: Path) -> None:
    spec = method_spec(tiny, "irepair")
    spec.method.Clear()
    spec.method.irepair.SetInParent()
    spec.method.preset = 2

    await assert_repaired(client, spec, tiny.model, out)
