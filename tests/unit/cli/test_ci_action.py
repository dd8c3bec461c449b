"""The GitHub Action: its script is run as the runner would run it, its inputs never reach a shell as text."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from llm_repair.v1 import coordinator_pb2 as pb

FOLDER = Path(__file__).parents[3] / "clients" / "ci"


async def _run_script(environment, tmp_path, **inputs: str) -> tuple[int, dict[str, str], str]:
    (tmp_path / "bin").mkdir(exist_ok=True)
    command = tmp_path / "bin" / "llm-repair"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llm_repair.cli.main "$@"\n')
    command.chmod(0o755)
    environment = {
        **environment,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        **inputs,
    }
    process = await asyncio.create_subprocess_exec(
        "bash", str(FOLDER / "gate.sh"), env=environment, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    await process.communicate()
    lines = (tmp_path / "output").read_text().splitlines()
    summary = tmp_path / "summary.md"
    outputs = dict(line.partition("=")[::2] for line in lines)
    return process.returncode, outputs, summary.read_text() if summary.exists() else ""


@pytest.mark.parametrize(
    ("verdict", "mode", "code"),
    [
        (pb.VERDICT_PASS, "fail", 0),
        (pb.VERDICT_FAIL, "warn", 1),
        (pb.VERDICT_INCONCLUSIVE, "fail", 2),
        (pb.VERDICT_INCONCLUSIVE, "warn", 0),
    ],
)
async def test_the_script_ends_with_the_verdict_and_writes_outputs_and_summary(
    environment, finished, tmp_path, verdict, mode, code
):
    finished(verdict)

    ended, outputs, summary = await _run_script(environment, tmp_path, GATE_REPAIR="a1", GATE_ON_INCONCLUSIVE=mode)

    name = pb.Verdict.Name(verdict).removeprefix("VERDICT_")
    assert (ended, outputs) == (code, {"verdict": name, "exit-code": str(code)})
    assert name in summary


async def test_inputs_with_shell_syntax_and_dashes_stay_values(environment, finished, tmp_path):
    finished()

    inputs = {"GATE_REPAIR": "--json; touch pwned $(touch pwned)", "GATE_POLICY": "`touch pwned`"}
    ended, outputs, _ = await _run_script(environment, tmp_path, **inputs)

    assert (ended, outputs["exit-code"], outputs["verdict"]) == (4, "4", "")
    assert not (tmp_path / "pwned").exists()


def test_no_expression_stands_inside_a_script():
    action = yaml.safe_load((FOLDER / "action.yml").read_text())

    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
    used = set(re.findall(r"inputs\.([a-z-]+)", (FOLDER / "action.yml").read_text()))
    assert used == set(action["inputs"])
