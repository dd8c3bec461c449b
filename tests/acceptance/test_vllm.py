"""The whole loop with the real vLLM engine: pool, base and repaired model are sampled and scored by it."""

import json
from pathlib import Path

import pytest
from acceptance_spec import tiny_spec
from tiny_assets import TinyAssets

from llm_repair.client import RepairClient
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2


@pytest.mark.timeout(600)
async def test_a_repair_measured_by_vllm_agrees_with_one_measured_by_transformers(
    client: RepairClient, tiny: TinyAssets, tmp_path: Path
) -> None:
    reports = {}
    for name, kind in (
        ("transformers", evaluation_pb2.ENGINE_KIND_TRANSFORMERS),
        ("vllm", evaluation_pb2.ENGINE_KIND_VLLM),
    ):
        spec = tiny_spec(tiny, prompts=None, pool=f"file:{tiny.pairs}", strategy="random", random_control=False)
        spec.evaluation.engine.kind = kind
        handle = await client.create_repair(spec)
        repair = await handle.result()
        assert repair.state == pb.REPAIR_STATE_SUCCEEDED
        await handle.report(tmp_path / name)
        reports[name] = json.loads((tmp_path / name / "report.json").read_text())

    metrics = {name: {metric["id"]: metric for metric in report["metrics"]} for name, report in reports.items()}
    for side in ("base", "repaired"):
        values = [metrics[name]["perplexity.texts.token"][side]["value"] for name in reports]
        assert values[1] == pytest.approx(values[0], rel=5e-3)
    assert (
        metrics["vllm"]["toxicity.mean"]["repaired"]["n"] == metrics["transformers"]["toxicity.mean"]["repaired"]["n"]
    )
