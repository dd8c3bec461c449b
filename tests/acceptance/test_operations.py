"""What operators see of a running stack: metrics of every service, and small RPC processes without torch."""

import urllib.request
from pathlib import Path

import pytest
from stack import SERVICES, Stack


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_shows_its_calls_at_metrics(service: str, stack: Stack) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_ports[service]}/metrics") as answer:
        text = answer.read().decode()

    assert "# TYPE llm_repair_rpc_calls_total counter" in text
    assert 'llm_repair_rpc_calls_total{code="OK",method="/grpc.health.v1.Health/Check"}' in text


@pytest.mark.parametrize("service", SERVICES)
def test_the_process_that_answers_calls_is_small_and_has_no_torch(service: str, stack: Stack) -> None:
    proc = Path(f"/proc/{stack.pid(service)}")

    resident_kib = int(next(line for line in (proc / "status").read_text().splitlines() if "VmRSS" in line).split()[1])

    assert resident_kib < 150 * 1024
    assert "libtorch" not in (proc / "maps").read_text()
