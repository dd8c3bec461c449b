"""Writes a gate's result for CI systems: Markdown for summaries, JUnit XML for test reports."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final

from llm_repair.cli import words
from llm_repair.v1 import coordinator_pb2 as pb

_MARKS: Final = {pb.VERDICT_PASS: "✅", pb.VERDICT_FAIL: "❌", pb.VERDICT_INCONCLUSIVE: "⚠️"}


def append_markdown(path: Path, name: str, gate: pb.GateResult) -> None:
    """Appends a heading and a table; appends, because CI systems collect summaries in one file."""
    lines = [
        f"### LLM Repair: {_MARKS.get(gate.verdict, '')} {words.verdict(gate.verdict)}",
        "",
        f"`{_cell(name)}`",
        "",
        "| metric | verdict | reason |",
        "| --- | --- | --- |",
    ]
    for each in gate.criteria:
        verdict = f"{_MARKS.get(each.verdict, '')} {words.verdict(each.verdict)}"
        lines.append(f"| `{_cell(words.criterion(each.criterion))}` | {verdict} | {_cell(each.reason)} |")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join([*lines, "", ""]))


def write_junit(path: Path, name: str, gate: pb.GateResult, *, inconclusive_fails: bool) -> None:
    """Writes one test case for each criterion; an inconclusive one that is let through counts as skipped."""
    suite = ElementTree.Element("testsuite", name=f"llm-repair gate {words.plain(name)}")
    counts = {"tests": 0, "failures": 0, "skipped": 0}
    for each in gate.criteria:
        case = ElementTree.SubElement(
            suite, "testcase", classname="llm_repair.gate", name=words.criterion(each.criterion)
        )
        counts["tests"] += 1
        if each.verdict == pb.VERDICT_PASS:
            continue
        fails = each.verdict != pb.VERDICT_INCONCLUSIVE or inconclusive_fails
        outcome = ElementTree.SubElement(case, "failure" if fails else "skipped")
        outcome.set("type", words.verdict(each.verdict))
        outcome.set("message", words.plain(each.reason))
        counts["failures" if fails else "skipped"] += 1
    for key, count in counts.items():
        suite.set(key, str(count))
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _cell(text: str) -> str:
    """Returns a text that can neither leave its cell nor become a tag."""
    flat = " ".join(words.plain(text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
