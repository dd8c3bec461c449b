"""A selection on a terminal: how much was taken, from what, at what cost. Ids and numbers, never texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format
from rich.console import Console
from rich.text import Text

from llm_repair.cli import words
from llm_repair.cli.exits import UsageError
from llm_repair.cli.tables import print_rows
from llm_repair.client import RepairHandle, Selection
from llm_repair.v1 import coordinator_pb2 as pb

_SHOWN_GROUPS: Final = 20
ROWS_SUFFIX: Final = ".jsonl"


def check_place(out: Path) -> None:
    """Refuses a place that could not be written, before any work is done for it.

    Raises:
      UsageError: it is a folder.
      OSError: its folder cannot be made.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; --out names a file: .json for ids, diagnostics and cost, .jsonl for rows")
    out.parent.mkdir(parents=True, exist_ok=True)


async def show(handle: RepairHandle, repair: pb.Repair, console: Console, out: Path | None) -> None:
    """Prints a selection, and writes it into a file: rows if its name ends in .jsonl, else ids, diagnostics, cost."""
    selected = await handle.selection()
    print_rows(console, ("selection", words.short_name(repair.name)), _facts(repair, selected))
    header = ("step", "seconds", "cpu-seconds", "worker peak memory", "note")
    print_rows(console, header, [_step(step) for step in repair.steps], right="seconds cpu-seconds")
    if clusters := selected.diagnostics.get("clusters"):
        _print_groups(console, ("cluster", "size", "selected", "exemplar"), [_cluster(each) for each in clusters])
    if strata := selected.diagnostics.get("strata"):
        _print_groups(console, ("stratum", "from", "below", "size", "selected"), [_stratum(each) for each in strata])
    if out is None:
        name = words.short_name(repair.name)
        console.print(Text(f"ids: llm-repair watch {name} --out DIR"), soft_wrap=True)
        return
    if out.suffix == ROWS_SUFFIX:
        await handle.selected_rows(out)
    else:
        _write(out, repair, selected)
    console.print(Text(f"wrote {out}"), soft_wrap=True)


def _facts(repair: pb.Repair, selected: Selection) -> list[tuple[str, str]]:
    counts = selected.diagnostics
    facts = [("strategy", _strategy(repair.spec)), ("pool", f"{counts['pool']} samples")]
    for dropped in counts.get("filters", []):
        facts.append((words.plain(str(dropped["filter"])).lower(), _dropped(dropped)))
    facts.append(("delivered", f"{counts['delivered']} samples, {counts['delivered_tokens']} tokens"))
    if "score" in counts:
        facts.append(("score", words.plain(str(counts["score"])).lower()))
    if counts.get("pruned"):
        facts.append(("pruned", f"{counts['pruned']} hardest, {counts['readmitted']} readmitted for the budget"))
    if "truncated" in counts:
        share = 100 * counts["truncated"] / counts["pool"]
        facts.append(("truncated", f"{counts['truncated']} of {counts['pool']} texts ({share:.1f} %)"))
    return facts


def _strategy(spec: pb.RepairSpec) -> str:
    """Returns the names of the filters and of what ranks inside them, such as `learnability > saps`."""
    names: list[str] = []
    chosen = spec.strategy
    while kind := chosen.WhichOneof("kind"):
        names.append(kind)
        part = getattr(chosen, kind)
        if "then" not in part.DESCRIPTOR.fields_by_name:
            break
        chosen = part.then
    return " > ".join(names)


def _dropped(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items() if name != "filter")


def _step(step: pb.Step) -> tuple[str, ...]:
    memory = step.usage.peak_memory_bytes
    return (
        words.plain(step.name),
        f"{step.usage.wall_s:.2f}",
        f"{step.usage.cpu_s:.2f}",
        words.size(memory) if memory else "",
        "reused; this is what it had cost" if step.reused else "",
    )


def _print_groups(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    numbers = " ".join(name for name in header if name != "exemplar")
    print_rows(console, header, rows[:_SHOWN_GROUPS], right=numbers)
    if len(rows) > _SHOWN_GROUPS:
        console.print(f"and {len(rows) - _SHOWN_GROUPS} more")


def _cluster(one: Mapping[str, Any]) -> tuple[str, ...]:
    return str(one["cluster"]), str(one["total"]), str(one["selected"]), words.plain(str(one["exemplar"]))


def _stratum(one: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = ("" if bound is None else f"{bound:.4g}" for bound in (one["low"], one["high"]))
    return str(one["stratum"]), low, high, str(one["total"]), str(one["selected"])


def _write(out: Path, repair: pb.Repair, selected: Selection) -> None:
    content = {
        "repair": repair.name,
        "seed": repair.spec.seed,
        "strategy": json_format.MessageToDict(repair.spec.strategy, preserving_proto_field_name=True),
        "ids": list(selected.ids),
        "clusters": list(selected.clusters),
        "diagnostics": selected.diagnostics,
        "cost": [_cost(step) for step in repair.steps],
    }
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cost(step: pb.Step) -> dict[str, Any]:
    """Returns what a step cost, also where it was reused; memory is null where the kernel could not tell."""
    return {
        "step": step.name,
        "seconds": step.usage.wall_s,
        "cpu_seconds": step.usage.cpu_s,
        "peak_memory_bytes": step.usage.peak_memory_bytes or None,
        "reused": step.reused,
    }
