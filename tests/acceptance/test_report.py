"""The report of a real repair: valid, recomputable from its records, and a request that gives the same again."""

import json
from pathlib import Path

import jsonschema
import pytest
from acceptance_spec import tiny_spec
from report_oracle import Recomputed
from tiny_assets import TinyAssets

from llm_repair.client import RepairClient, load_spec
from llm_repair.evaluation.report.schema import report_schema


async def test_every_number_of_a_real_report_follows_from_its_records(
    client: RepairClient, tiny: TinyAssets, out: Path
) -> None:
    handle = await client.create_repair(tiny_spec(tiny))
    await handle.result()
    await handle.report(out)
    report = json.loads((out / "report.json").read_text())
    recomputed, checked = Recomputed(report), 0

    jsonschema.validate(report, report_schema())
    for metric in report["metrics"]:
        for side, expected in recomputed.sides(metric).items():
            found = metric[side] and [metric[side][part] for part in ("value", "low", "high")]
            assert found == (expected and pytest.approx(expected, rel=1e-7, abs=1e-9)), (metric["id"], side)
            checked += 1
    assert checked > 30


async def test_the_request_in_a_report_gives_the_same_again_and_costs_nothing(
    client: RepairClient, tiny: TinyAssets, out: Path
) -> None:
    handle = await client.create_repair(tiny_spec(tiny))
    first = await handle.result()
    await handle.report(out)
    request = out / "request.json"
    request.write_text(json.dumps(json.loads((out / "report.json").read_text())["repair"]["request"]))

    again = await (await client.create_repair(load_spec(request))).result()

    ran = {step.name for step in again.steps if not step.reused}
    assert ran <= {"report", "publish"}
    assert again.weights_digest == first.weights_digest
