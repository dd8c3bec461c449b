"""`methods`: repairs by every method on the real SmolLM2-135M, and the table of what they gave.

A line a contender: seconds are processor time of its training step, with ratios to DPO on the top third of the layers;
the size is its number of optimizer steps; `value_agrees` says whether the whole interval of mean toxicity fell. There
is no limit here: `trainer` has it. The table goes to `docs/methods.md`. Takes about three minutes a contender on two
cores.

Quick: two methods on the tiny model of the tests; no table is kept.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import area
from bench.lines import Line, machine_line
from bench.measure import Limits
from bench.methods.contenders import CONTENDERS, QUICK
from bench.methods.outcomes import Outcome, outcomes
from bench.methods.table import table
from bench.models import ROOT
from llm_repair.client import load_spec

_OURS = ("DPO", "top third of the layers")
_TABLE = ROOT / "docs" / "methods.md"


def run(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all contenders, and writes the table."""
    if quick:
        with tempfile.TemporaryDirectory() as scratch:
            yield from _lines(list(_quick_outcomes(Path(scratch))))
        return
    spec = load_spec(ROOT / "docs" / "demo.yaml")
    found = list(outcomes(CONTENDERS, spec, ROOT / "build" / "bench" / "methods"))
    yield from _lines(found)
    machine = machine_line(limits)
    _TABLE.write_text(table(found, f"{machine['cpu']}, {machine['threads']} cores"), encoding="utf-8")


def _quick_outcomes(scratch: Path) -> Iterator[Outcome]:
    sys.path.insert(0, str(ROOT / "tests"))
    assets = importlib.import_module("tiny_assets").make_tiny_assets(scratch / "assets")
    spec = importlib.import_module("acceptance_spec").tiny_spec(assets)
    yield from outcomes(QUICK, spec, scratch / "runs")


def _lines(found: Sequence[Outcome]) -> Iterator[Line]:
    by_name = {(outcome.contender.name, outcome.contender.trained): outcome for outcome in found}
    ours = by_name.get(_OURS, found[0])
    for outcome in found:
        change = outcome.metrics["toxicity.mean"]["change"]
        yield Line(
            bench="methods.smollm2",
            contender=f"{outcome.contender.name}, {outcome.contender.trained}",
            size=outcome.training["optimizer_steps"],
            seconds=outcome.processor_s,
            ratio_to_ours=outcome.processor_s / ours.processor_s,
            value_agrees=None if change is None else change["high"] < 0,
        )


if __name__ == "__main__":
    area.main(__doc__, run)
