"""The heart of a report on a terminal: verdict, reasons, and every metric before and after."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from llm_repair.cli import words
from llm_repair.cli.tables import print_rows
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2

_ALONE = "NO_BASELINE"
_COLOURS = {pb.VERDICT_PASS: "green", pb.VERDICT_INCONCLUSIVE: "yellow", pb.VERDICT_FAIL: "red"}


_NO_VERDICT = "a model that is measured alone has no change; criteria with absolute bounds would give one"


def print_verdict(console: Console, gate: pb.GateResult) -> None:
    """Prints the verdict and one line for each criterion, or why there is no verdict."""
    why = "" if gate.verdict or gate.criteria else f" ({_NO_VERDICT})"
    colour = f"bold {_COLOURS.get(gate.verdict, '')}"
    console.print(Text.assemble("verdict: ", (words.verdict(gate.verdict), colour), why), soft_wrap=True)
    for each in gate.criteria:
        line = f"  {words.verdict(each.verdict):<12} {words.criterion(each.criterion)}: {words.plain(each.reason)}"
        console.print(Text(line), soft_wrap=True)


def print_metrics(console: Console, metrics: Sequence[types_pb2.Metric]) -> None:
    """Prints a table of metrics, changes with their intervals; of one model alone its values with theirs."""
    if metrics and all(metric.change.missing_reason == _ALONE for metric in metrics):
        header = ("metric", "value", "n", "judge")
        rows = [(words.metric(m), words.interval(m.repaired), _units(m.repaired), _judge(m)) for m in metrics]
        print_rows(console, header, rows, right="value n")
        return
    header = ("metric", "base", "repaired", "change", "n", "judge")
    print_rows(console, header, [_row(metric) for metric in metrics], right="base repaired change n")


def _row(metric: types_pb2.Metric) -> tuple[str, ...]:
    return (
        words.metric(metric),
        words.quantity(metric.base),
        words.quantity(metric.repaired),
        words.change(metric),
        _units(metric.change),
        _judge(metric),
    )


def _units(quantity: types_pb2.Quantity) -> str:
    return str(quantity.estimate.n) if quantity.WhichOneof("quantity") == "estimate" else ""


def _judge(metric: types_pb2.Metric) -> str:
    return " ".join(filter(None, (words.plain(metric.judge), "" if metric.gating else "(does not gate)")))
