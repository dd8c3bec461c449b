"""`llm-repair gate`: judges a finished repair for CI; its exit code is the verdict."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from google.protobuf import json_format
from rich.console import Console

from llm_repair.cli import connection, gate_files, heart, names, words
from llm_repair.cli.exits import Exit, exit_for_verdict
from llm_repair.client import load_policy
from llm_repair.v1 import coordinator_pb2 as pb


def register(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.description = (
        "Judges a finished repair. Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 no verdict could be had, 4 wrong use."
    )
    names.add_argument(parser)
    parser.add_argument("--policy", type=Path, metavar="FILE", help="YAML or JSON; the default policy if not given")
    parser.add_argument("--wait", action="store_true", help="waits for a repair that still runs")
    parser.add_argument("--json", action="store_true", help="prints the result as one JSON object")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="appends a summary for a pull request")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="writes a JUnit XML report")
    parser.add_argument(
        "--on-inconclusive",
        choices=("fail", "warn"),
        default="fail",
        help="fail (default): exit code 2; warn: exit code 0 with a warning",
    )


async def run(options: argparse.Namespace, console: Console) -> Exit:
    """Judges."""
    policy = load_policy(options.policy) if options.policy else None
    async with connection.connected(options) as connected:
        handle = await names.find(connected.client, options.name)
        if options.wait:
            await handle.result()
        gate = await connected.client.evaluate_gate(handle.name, policy)
    is_warning = gate.verdict == pb.VERDICT_INCONCLUSIVE and options.on_inconclusive == "warn"
    code = Exit.PASS if is_warning else exit_for_verdict(gate.verdict)
    if options.json:
        print(json.dumps(_as_json(handle.name, gate, code)))
    else:
        heart.print_verdict(console, gate)
        if is_warning:
            console.print("warning: inconclusive is let through by --on-inconclusive warn")
    if options.markdown is not None:
        gate_files.append_markdown(options.markdown, handle.name, gate)
    if options.junit is not None:
        gate_files.write_junit(options.junit, handle.name, gate, inconclusive_fails=not is_warning)
    return code


def _as_json(name: str, gate: pb.GateResult, code: Exit) -> dict[str, object]:
    criteria = [
        {
            "metric": each.criterion.metric,
            "verdict": words.verdict(each.verdict),
            "reason": each.reason,
            "criterion": json_format.MessageToDict(each.criterion, preserving_proto_field_name=True),
        }
        for each in gate.criteria
    ]
    return {"repair": name, "verdict": words.verdict(gate.verdict), "exit_code": int(code), "criteria": criteria}
