"""Repairs by one contender after another through the four real services, and what their reports say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from bench.methods.contenders import Contender
from llm_repair.v1 import coordinator_pb2 as pb

_VERDICTS = range(3)
"""Exit codes that say PASS, FAIL or INCONCLUSIVE."""


@dataclass(frozen=True)
class Outcome:
    """What one contender gave and took."""

    contender: Contender
    metrics: Mapping[str, Mapping[str, Any]]
    """Of all units, by id; as in report.json."""
    training: Mapping[str, Any]
    """What the training step says of itself."""
    processor_s: float
    """Of the training step: all its threads, loading and saving included."""
    peak_memory_bytes: int
    verdict: str

    @property
    def other_judge(self) -> str:
        """Id of the mean toxicity by the first judge that does not gate; empty where there is none."""
        means = (name for name, metric in self.metrics.items() if name.endswith(".mean") and not metric["gating"])
        return next((name for name in means if name.count(".") == 2), "")


def outcomes(contenders: Sequence[Contender], shared: pb.RepairSpec, folder: Path) -> Iterator[Outcome]:
    """Repairs by every contender; base evaluation, pool and selection are made once and shared."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    try:
        for number, contender in enumerate(contenders):
            yield _outcome(contender, shared, folder / f"{number:02d}", home)
    finally:
        subprocess.run([*_COMMAND, "down", "--home", str(home)], check=False)


_COMMAND = (sys.executable, "-m", "llm_repair.cli.main")


def _outcome(contender: Contender, shared: pb.RepairSpec, folder: Path, home: Path) -> Outcome:
    folder.mkdir(exist_ok=True)
    request = folder / "request.json"
    request.write_text(json_format.MessageToJson(contender.spec(shared)), encoding="utf-8")
    command = [*_COMMAND, "repair", "--spec", str(request), "--home", str(home), "--out", str(folder)]
    command += ["--allow-root", str(home.parents[1])]
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        code = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)
    if code not in _VERDICTS:
        raise RuntimeError(f"{contender.name} ended with exit code {code}; see {output.name}")
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    step = next(step for step in report["steps"] if step["name"] == "repair")
    return Outcome(
        contender,
        {metric["id"]: metric for metric in report["metrics"] if not metric.get("slice")},
        step["summary"],
        step["usage"]["cpu_s"],
        step["usage"]["peak_memory_bytes"],
        report["verdict"],
    )
