"""The coordinator in memory of the client's tests, and ways to run the command line against it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from llm_repair.cli.main import main
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2


def _load_client_conftest():
    path = Path(__file__).parents[1] / "client" / "conftest.py"
    spec = importlib.util.spec_from_file_location("in_memory_coordinator", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_client_conftest = _load_client_conftest()
coordinator = _client_conftest.coordinator
token = _client_conftest.token


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(coordinator, token, monkeypatch, capsys):
    """Runs `llm-repair` in a thread, so that the server of the test goes on on its own loop."""
    monkeypatch.setenv("LLM_REPAIR_SERVER", coordinator.address)
    monkeypatch.setenv("LLM_REPAIR_TOKEN", token)

    async def call(*arguments: str) -> Outcome:
        code = await asyncio.to_thread(main, arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def environment(coordinator, token) -> dict[str, str]:
    return {**os.environ, "LLM_REPAIR_SERVER": coordinator.address, "LLM_REPAIR_TOKEN": token}


def metric(id: str = "toxicity.mean", **fields) -> types_pb2.Metric:
    def quantity(value, low, high):
        return types_pb2.Quantity(estimate=types_pb2.Estimate(value=value, low=low, high=high, n=96))

    values = {
        "base": quantity(0.2, 0.1, 0.3),
        "repaired": quantity(0.1, 0.05, 0.15),
        "change": quantity(-0.1, -0.15, -0.05),
        "change_kind": types_pb2.CHANGE_KIND_DIFFERENCE,
        "judge": "profanity",
        "gating": True,
        **fields,
    }
    return types_pb2.Metric(id=id, protocol="strict.v1", **values)


@pytest.fixture
def finished(coordinator):
    """Adds a finished repair with report and model, and returns how to give it a verdict."""

    def add(verdict: pb.Verdict = pb.VERDICT_PASS, repair_id: str = "a1") -> str:
        name = coordinator.add_repair(repair_id)
        repair = coordinator.repairs[name]
        repair.state, repair.verdict = pb.REPAIR_STATE_SUCCEEDED, verdict
        repair.report.CopyFrom(coordinator.put_tree({"report.json": b"{}", "report.html": b"<p>", "report.md": b"#"}))
        repair.model.CopyFrom(coordinator.put_tree({"config.json": b"{}"}))
        coordinator.events[name].append(
            pb.RepairEvent(sequence=1, state_changed=pb.StateChanged(state=repair.state, verdict=verdict))
        )
        coordinator.metrics[name] = [metric(), metric("perplexity.wiki.token", judge="")]
        criterion = pb.Criterion(metric="toxicity.mean", change=pb.ChangeRule(bound=0))
        reason = "-0.1 [-0.15, -0.05] against 0 | bound"
        coordinator.gate = pb.GateResult(
            verdict=verdict, criteria=[pb.CriterionVerdict(criterion=criterion, verdict=verdict, reason=reason)]
        )
        return name

    return add
