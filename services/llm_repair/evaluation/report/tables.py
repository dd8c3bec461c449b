"""The tables of metrics: criteria, judges, perplexity, guards, groups, arms, composites."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_repair.core.missing_reasons import in_words
from llm_repair.evaluation.report import formats, wording
from llm_repair.evaluation.report.efficiency import res_metrics
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.metric_names import Family, parse
from llm_repair.evaluation.report.occasion import Occasion
from llm_repair.evaluation.report.readings import MetricReading, Reading, find


@dataclass(frozen=True)
class CriterionRow:
    """One criterion of the gate."""

    title: str
    requirement: str
    measured: str
    """What was compared with the requirement; empty when it has no value, or one by group."""
    n: str
    """Units of it."""
    verdict: str
    reason: str


@dataclass(frozen=True)
class MetricRow:
    """One metric with everything in words."""

    title: str
    explanation: str
    judge: str
    group: str
    base: str
    base_interval: str
    repaired: str
    repaired_interval: str
    change: str
    interval: str
    n: str
    missing: str
    finding: str
    """`better`, `worse` or `no clear change`; empty when missing."""
    notes: tuple[str, ...]
    """What else is to be known: that it cannot gate, or what its interval means."""


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
class CompositeRow:
    """One reconstructed score."""

    title: str
    explanation: str
    value: str
    interval: str
    missing: str


def criterion_rows(gate: JsonObject, metrics: Sequence[MetricReading]) -> tuple[CriterionRow, ...]:
    """Returns the criteria in the order of the policy."""
    return tuple(_criterion_row(item, metrics) for item in objects_at(gate, "criteria"))


def metric_rows(
    metrics: Sequence[MetricReading], belongs: Callable[[MetricReading], bool], occasion: Occasion
) -> tuple[MetricRow, ...]:
    """Returns the rows of the metrics that belong to a table; each explanation stands at its first row only."""
    rows: list[MetricRow] = []
    explained: set[str] = set()
    for metric in metrics:
        if belongs(metric):
            row = _metric_row(metric, occasion)
            rows.append(dataclasses.replace(row, explanation="" if row.explanation in explained else row.explanation))
            explained.add(row.explanation)
    return tuple(rows)


def over_all(
    *families: Family, measures: Sequence[str] = (), but: Sequence[str] = ()
) -> Callable[[MetricReading], bool]:
    """Returns whether a metric is of one of these families and measures and over all units; every measure if none."""

    def belongs(metric: MetricReading) -> bool:
        name = parse(metric.id)
        wanted = name.family in families and not metric.slice and name.measure not in but
        return wanted and (not measures or name.measure in measures)

    return belongs


def by_group(metric_id: str) -> Callable[[MetricReading], bool]:
    """Returns whether a metric is this one over a group."""
    return lambda metric: metric.id == metric_id and bool(metric.slice)


def metrics_by_group(metrics: Sequence[MetricReading], *families: Family) -> tuple[str, ...]:
    """Returns the ids of these families that are given by group, in their order."""
    sliced = (item.id for item in metrics if item.slice and parse(item.id).family in families)
    return tuple(dict.fromkeys(sliced))


def control_rows(
    main: Sequence[MetricReading], difference: Sequence[MetricReading], names: tuple[str, str]
) -> tuple[ControlRow, ...]:
    """Returns the gating judge's metrics of both arms side by side, with their paired difference."""
    rows: list[ControlRow] = []
    for metric in difference:
        name = parse(metric.id)
        shown = name.family is Family.TOXICITY or (name.family is Family.PERPLEXITY and name.measure == "token")
        if shown and metric.gating and not metric.slice:
            rows.append(_control_row(metric, find(main, metric.id, judge=metric.judge), names))
    return tuple(rows)


def separation(metric: MetricReading, names: tuple[str, str]) -> str:
    """Returns whether main and control arm could be told apart on a metric, as measured; `names` in that order."""
    if metric.change.value is None:
        return in_words(metric.change.reason)
    better = metric.is_better
    return "not separated" if better is None else f"separated, {names[0] if better else names[1]} better"


def composite_rows(metrics: Sequence[MetricReading], composites: JsonObject) -> tuple[CompositeRow, ...]:
    """Returns the reconstructed scores; those that could not be made with their reason."""
    measured = [item for item in metrics if parse(item.id).family is Family.RECONSTRUCTED and not item.slice]
    rows = [_composite_row(item.id, item.repaired) for item in measured]
    if not measured or not composites:
        return tuple(rows)
    for metric, estimate, why in res_metrics(composites):
        rows.append(_composite_row(metric, _reading(estimate, why)))
    return tuple(rows)


_DEMANDS = {"AbsoluteRule": "bound", "ChangeRule": "bound", "NonInferiorityRule": "margin"}
"""What a rule compares with."""


def _criterion_row(item: JsonObject, metrics: Sequence[MetricReading]) -> CriterionRow:
    metric, rule = text_at(item, "metric"), object_at(item, "rule")
    each_group = text_at(item, "slice") == "EACH_GROUP"
    found = None if each_group else find(metrics, metric)
    measured = _measured(found, rule)
    reason = text_at(item, "reason")
    return CriterionRow(
        title=wording.wording(metric).title + (", in each group" if each_group else ""),
        requirement=_requirement(metric, rule),
        measured=measured,
        n=formats.whole(_held(found, rule).n) if found and measured else formats.NO_VALUE,
        verdict=text_at(item, "verdict"),
        reason=_without_numbers(reason) if measured else reason,
    )


def _without_numbers(reason: str) -> str:
    """Returns the part of the gate's sentence that says why: the numbers before it stand in columns of their own."""
    return reason.rpartition(": ")[2].removesuffix(".")


def _requirement(metric: str, rule: JsonObject) -> str:
    unit = wording.wording(metric).unit
    is_ratio = _is_ratio(metric)
    kind = text_at(rule, "type")
    value = number_at(rule, _DEMANDS.get(kind, ""))
    if value is None:
        return kind
    if kind == "AbsoluteRule":
        return f"its value must be on the good side of {unit.write(value)}"
    if kind == "ChangeRule":
        if value == (1.0 if is_ratio else 0.0):
            return "must improve"
        written = formats.signed_percent(value - 1) if is_ratio else unit.write_change(value)
        return f"change must be better than {written}"
    written = formats.percent(value, 1) if is_ratio else unit.write_change(value).removeprefix("+")
    return f"may be worse by at most {written}"


def _is_ratio(metric: str) -> bool:
    name = parse(metric)
    return name.family is Family.PERPLEXITY or (name.family is Family.CLOZE and name.measure == "perplexity")


def _measured(metric: MetricReading | None, rule: JsonObject) -> str:
    if metric is None:
        return ""
    is_change, reading = _is_of_change(rule), _held(metric, rule)
    if reading.value is None:
        return ""
    value = wording.written_change(metric) if is_change else wording.written(metric, reading)
    return f"{value} {wording.written_interval(metric, reading, change=is_change)}".strip()


def _is_of_change(rule: JsonObject) -> bool:
    return text_at(rule, "type") != "AbsoluteRule"


def _held(metric: MetricReading, rule: JsonObject) -> Reading:
    """Returns what a rule is held against."""
    return metric.change if _is_of_change(rule) else metric.repaired


_FINDINGS = {True: "better", False: "worse", None: "no clear change"}


def _metric_row(metric: MetricReading, occasion: Occasion) -> MetricRow:
    known = wording.wording(metric.id)
    change = metric.change
    n = change.n or metric.repaired.n or metric.base.n
    return MetricRow(
        title=known.title,
        explanation=known.explanation,
        judge=metric.judge,
        group=metric.slice,
        base=wording.written(metric, metric.base),
        base_interval=wording.written_interval(metric, metric.base),
        repaired=wording.written(metric, metric.repaired),
        repaired_interval=wording.written_interval(metric, metric.repaired),
        change=wording.written_change(metric),
        interval=wording.written_interval(metric, change, change=True),
        n=formats.whole(n) if n else formats.NO_VALUE,
        missing=_why_missing(metric, occasion),
        finding=_FINDINGS[metric.is_better] if change.value is not None and not metric.ignores_stop else "",
        notes=_notes(metric),
    )


def _notes(metric: MetricReading) -> tuple[str, ...]:
    if metric.is_sequence:
        return ("interval of the sequence",)
    return ("its interval does not allow for the early stop",) if metric.ignores_stop else ()


def _why_missing(metric: MetricReading, occasion: Occasion) -> str:
    sides = {occasion.before: metric.base, occasion.after: metric.repaired, "change": metric.change}
    if not occasion.has_base:
        sides = {occasion.after: metric.repaired}
    reasons = {side: in_words(reading.reason) for side, reading in sides.items() if reading.value is None}
    if len(set(reasons.values())) == 1:
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


def _composite_row(metric: str, reading: Reading) -> CompositeRow:
    known = wording.wording(metric)
    has_value = reading.value is not None
    ends = [known.unit.write(end) for end in (reading.low, reading.high) if end is not None]
    return CompositeRow(
        title=known.title,
        explanation=known.explanation,
        value=known.unit.write(reading.value) if reading.value is not None else formats.NO_VALUE,
        interval=f"[{', '.join(ends)}]" if has_value and len(ends) == 2 else "",
        missing="" if has_value else in_words(reading.reason),
    )


def _reading(estimate: JsonObject | None, why: str) -> Reading:
    if estimate is None:
        return Reading(None, reason=why)
    value, low, high = (number_at(estimate, name) for name in ("value", "low", "high"))
    return Reading(value, low, high, int(number_at(estimate, "n") or 0))
