"""The heart of a report on a terminal: verdict, reasons, and every metric before and after."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from llm_repair.cli import words
from llm_repair.cli.tables import print_rows
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import types_pb2

_COLOURS = {pb.VERDICT_PASS: "green", pb.VERDICT_INCONCLUSIVE: "yellow", pb.VERDICT_FAIL: "red"}


def print_verdict(console: Console, gate: pb.GateResult) -> None:
    """Prints the verdict and one line for each criterion."""
    console.print(Text.assemble("verdict: ", (words.verdict(gate.verdict), f"bold {_COLOURS.get(gate.verdict, '')}")))
    for each in gate.criteria:
        line = f"  {words.verdict(each.verdict):<12} {words.plain(each.criterion.metric)}: {words.plain(each.reason)}"
        console.print(Text(line), soft_wrap=True)


def print_metrics(console: Console, metrics: Iterable[types_pb2.Metric]) -> None:
    """Prints a table of metrics, changes with their intervals."""
    header = ("metric", "base", "repaired", "change", "n", "judge")
    print_rows(console, header, [_row(metric) for metric in metrics], right="base repaired change n")


def _row(metric: types_pb2.Metric) -> tuple[str, ...]:
    has_value = metric.change.WhichOneof("quantity") == "estimate"
    judge = words.plain(metric.judge) + ("" if metric.gating or not metric.judge else " (does not gate)")
    return (
        words.plain(metric.id),
        words.quantity(metric.base),
        words.quantity(metric.repaired),
        words.change(metric),
        str(metric.change.estimate.n) if has_value else "",
        judge,
    )
