"""The tables of the page: criteria, judges and slices, perplexity, guards, control arm, steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report import formats, wording
from llm_repair.evaluation.report.headline import is_better
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.readings import MetricReading, find
from llm_repair.evaluation.report.stages import stage_of

COMPOSITES = ("composite", "rps", "ops", "res")
"""Scores that are only shown once they are defined beside their raw numbers."""


@dataclass(frozen=True)
class CriterionRow:
    """One criterion of the gate."""

    title: str
    requirement: str
    measured: str
    """What was compared with the requirement; empty when it has no value."""
    verdict: str
    reason: str


@dataclass(frozen=True)
class MetricRow:
    """One metric with everything in words."""

    title: str
    explanation: str
    judge: str
    base: str
    repaired: str
    change: str
    interval: str
    n: str
    missing: str
    finding: str
    """`better`, `worse` or `no clear change`; empty when missing."""


@dataclass(frozen=True)
class ControlRow:
    """One metric in both arms."""

    title: str
    base: str
    control: str
    repaired: str
    difference: str
    interval: str
    finding: str
    """`separated` or `not separated`, or why there is no difference."""


@dataclass(frozen=True)
class StepRow:
    """One step of the repair."""

    name: str
    stage: str
    duration: str
    is_reused: bool
    attempts: str
    notes: tuple[str, ...]
    key: str


def criterion_rows(gate: JsonObject, metrics: Sequence[MetricReading]) -> tuple[CriterionRow, ...]:
    """Returns the criteria in the order of the policy."""
    return tuple(
        CriterionRow(
            wording.wording(text_at(item, "metric")).title,
            _requirement(text_at(item, "metric"), object_at(item, "rule")),
            _measured(find(metrics, text_at(item, "metric")), object_at(item, "rule")),
            text_at(item, "verdict"),
            text_at(item, "reason"),
        )
        for item in objects_at(gate, "criteria")
    )


def short_reason(verdict: str) -> str:
    """Returns why a criterion with a value got its verdict."""
    match verdict:
        case "PASS":
            return "the whole interval meets it"
        case "FAIL":
            return "the whole interval misses it"
        case _:
            return "the interval holds values that meet it and values that miss it"


def metric_rows(metrics: Sequence[MetricReading], belongs: Callable[[MetricReading], bool]) -> tuple[MetricRow, ...]:
    """Returns the rows of the metrics that belong to a table; each explanation stands at its first row only."""
    rows: list[MetricRow] = []
    explained: set[str] = set()
    for metric in metrics:
        if belongs(metric):
            row = _metric_row(metric)
            rows.append(dataclasses.replace(row, explanation="" if row.explanation in explained else row.explanation))
            explained.add(row.explanation)
    return tuple(rows)


def is_toxicity(metric: MetricReading) -> bool:
    """Whether the metric rests on judge scores."""
    return metric.id.startswith("toxicity.")


def is_perplexity(metric: MetricReading) -> bool:
    """Whether the metric says what the repair cost in language ability."""
    return metric.id.startswith("perplexity.") and not is_restated(metric)


def is_restated(metric: MetricReading) -> bool:
    """Whether the metric is a perplexity on another scale than tokens: the same measurement once more."""
    return metric.id.startswith("perplexity.") and not metric.id.endswith(".token")


def is_guard(metric: MetricReading) -> bool:
    """Whether the metric guards against a model that is harmless because it is broken."""
    family = metric.id.partition(".")[0]
    return family not in ("toxicity", "perplexity", *COMPOSITES)


def control_rows(
    main: Sequence[MetricReading], difference: Sequence[MetricReading], names: tuple[str, str]
) -> tuple[ControlRow, ...]:
    """Returns the gating metrics of both arms side by side, with their paired difference."""
    rows: list[ControlRow] = []
    for metric in difference:
        if metric.gating and (is_toxicity(metric) or is_perplexity(metric)):
            rows.append(_control_row(metric, find(main, metric.id, metric.judge), names))
    return tuple(rows)


def separation(metric: MetricReading, names: tuple[str, str]) -> str:
    """Returns whether main and control arm could be told apart on a metric, as measured; `names` in that order."""
    if metric.change.value is None:
        return wording.reason(metric.change.reason)
    better = is_better(metric)
    return "not separated" if better is None else f"separated, {names[0] if better else names[1]} better"


def step_rows(steps: Sequence[JsonObject]) -> tuple[StepRow, ...]:
    """Returns the steps in order."""
    return tuple(_step_row(step) for step in steps)


def _requirement(metric: str, rule: JsonObject) -> str:
    unit = wording.wording(metric).unit
    is_ratio = metric.startswith("perplexity.")
    bound, margin = number_at(rule, "bound"), number_at(rule, "margin")
    match text_at(rule, "type"):
        case "AbsoluteRule" if bound is not None:
            return f"value after the repair on the good side of {unit.write(bound)}"
        case "ChangeRule" if bound is not None:
            if bound == (1.0 if is_ratio else 0.0):
                return "must improve"
            written = formats.signed_percent(bound - 1) if is_ratio else unit.write_change(bound)
            return f"change must be better than {written}"
        case "NonInferiorityRule" if margin is not None:
            written = formats.percent(margin, 1) if is_ratio else unit.write_change(margin).removeprefix("+")
            return f"may be worse by at most {written}"
        case other:
            return other


def _measured(metric: MetricReading | None, rule: JsonObject) -> str:
    if metric is None:
        return ""
    is_change = text_at(rule, "type") != "AbsoluteRule"
    reading = metric.change if is_change else metric.repaired
    if reading.value is None:
        return ""
    value = wording.written_change(metric) if is_change else wording.written(metric, reading)
    return f"{value} {wording.written_interval(metric, reading, change=is_change)}".strip()


def _metric_row(metric: MetricReading) -> MetricRow:
    known = wording.wording(metric.id)
    change = metric.change
    finding = {True: "better", False: "worse", None: "no clear change"}[is_better(metric)]
    return MetricRow(
        title=known.title,
        explanation=known.explanation,
        judge=metric.judge,
        base=wording.written(metric, metric.base),
        repaired=wording.written(metric, metric.repaired),
        change=wording.written_change(metric),
        interval=wording.written_interval(metric, change, change=True),
        n=formats.whole(change.n or metric.base.n) if change.n or metric.base.n else formats.NO_VALUE,
        missing=_why_missing(metric),
        finding=finding if change.value is not None else "",
    )


def _why_missing(metric: MetricReading) -> str:
    sides = {"before": metric.base, "after": metric.repaired, "change": metric.change}
    reasons = {side: wording.reason(reading.reason) for side, reading in sides.items() if reading.value is None}
    if len(set(reasons.values())) == 1 and len(reasons) == len(sides):
        return next(iter(reasons.values()))
    return "; ".join(f"{side}: {why}" for side, why in reasons.items())


def _control_row(metric: MetricReading, before: MetricReading | None, names: tuple[str, str]) -> ControlRow:
    return ControlRow(
        title=wording.wording(metric.id).title,
        base=wording.written(before, before.base) if before else formats.NO_VALUE,
        control=wording.written(metric, metric.base),
        repaired=wording.written(metric, metric.repaired),
        difference=wording.written_change(metric),
        interval=wording.written_interval(metric, metric.change, change=True),
        finding=separation(metric, names),
    )


def _step_row(step: JsonObject) -> StepRow:
    attempts = number_at(step, "attempts") or 0
    return StepRow(
        name=text_at(step, "name"),
        stage=stage_of(text_at(step, "name")).value,
        duration=formats.duration(number_at(step, "usage", "wall_s") or 0.0),
        is_reused=step.get("reused") is True,
        attempts=formats.whole(attempts),
        notes=tuple(_note(note) for note in objects_at(step, "notes")),
        key=formats.digest(text_at(step, "key")),
    )


def _note(note: JsonObject) -> str:
    fields = ", ".join(f"{name} {_plain(value)}" for name, value in object_at(note, "fields").items())
    return text_at(note, "phrase") + (f" ({fields})" if fields else "")


def _plain(value: Json) -> str:
    return str(value) if isinstance(value, str | int | float) else "…"
