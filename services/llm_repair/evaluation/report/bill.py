"""The bill in words and as a table: what every stage and every step took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.account import Fact
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.stages import Stage, StageCost, stage_of, total_s


@dataclass(frozen=True)
class StepRow:
    """One step of the request."""

    name: str
    stage: str
    duration: str
    processor: str
    accelerator: str
    is_reused: bool
    attempts: str
    notes: tuple[str, ...]
    key: str


def bill_sentence(costs: Sequence[StageCost]) -> str:
    """Returns the bill in one line."""
    spent = {cost.stage: cost for cost in costs}
    parts = [
        f"{stage.value} {formats.duration(spent[stage].wall_s)}"
        for stage in Stage
        if stage is not Stage.SET_UP and stage in spent and (spent[stage].wall_s or not spent[stage].reused_wall_s)
    ]
    line = f"{formats.duration(total_s(costs))} in all: {', '.join(parts) or 'nothing had to run'}."
    reused = sum(cost.reused_wall_s for cost in costs if cost.stage is not Stage.SET_UP)
    line += f" Reuse of earlier results saved {formats.duration(reused)}." if reused else ""
    set_up = spent.get(Stage.SET_UP)
    if set_up and set_up.wall_s:
        line += f" Set-up (downloads and imports, once per machine) took {formats.duration(set_up.wall_s)} more."
    return line


def resource_facts(document: JsonObject) -> tuple[Fact, ...]:
    """Returns what the steps of this request used; reused steps used nothing."""
    usage, timing = object_at(document, "usage"), object_at(document, "timing")
    writers = (
        ("From start to end", number_at(timing, "wall_s"), formats.duration),
        ("of which a step was at work", number_at(timing, "execution_s"), formats.duration),
        ("Accelerator time", number_at(usage, "accelerator_s") or None, formats.duration),
        ("Processor time", number_at(usage, "cpu_s"), formats.duration),
        ("Tokens, made or read", number_at(usage, "tokens"), formats.whole),
        ("Largest memory", number_at(usage, "peak_memory_bytes") or None, formats.size),
        ("Written", number_at(usage, "written_bytes"), formats.size),
    )
    return tuple(Fact(name, write(value)) for name, value, write in writers if value is not None)


def step_rows(steps: Sequence[JsonObject]) -> tuple[StepRow, ...]:
    """Returns the steps in order."""
    return tuple(_step_row(step) for step in steps)


def retried(steps: Sequence[JsonObject]) -> tuple[str, ...]:
    """Returns the names of the steps that took more than one attempt, whose cost is on the bill."""
    return tuple(text_at(step, "name") for step in steps if (number_at(step, "attempts") or 0) > 1)


def _step_row(step: JsonObject) -> StepRow:
    accelerator = number_at(step, "usage", "accelerator_s") or 0.0
    return StepRow(
        name=text_at(step, "name"),
        stage=stage_of(text_at(step, "name")).value,
        duration=formats.duration(number_at(step, "usage", "wall_s") or 0.0),
        processor=formats.duration(number_at(step, "usage", "cpu_s") or 0.0),
        accelerator=formats.duration(accelerator) if accelerator else "",
        is_reused=step.get("reused") is True,
        attempts=formats.whole(number_at(step, "attempts") or 0),
        notes=tuple(_note(note) for note in objects_at(step, "notes")),
        key=formats.digest(text_at(step, "key")),
    )


def _note(note: JsonObject) -> str:
    fields = ", ".join(f"{name} {_plain(value)}" for name, value in object_at(note, "fields").items())
    return text_at(note, "phrase") + (f" ({fields})" if fields else "")


def _plain(value: Json) -> str:
    return str(value) if isinstance(value, str | int | float) else "…"
