"""Which plots a report has: each is drawn from `report.json` alone, and left out where its data are missing."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.core.statistics import TOXIC_THRESHOLD
from llm_repair.evaluation.report import formats, wording
from llm_repair.evaluation.report.json_access import JsonObject, list_at, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.metric_names import Family, parse
from llm_repair.evaluation.report.occasion import Occasion
from llm_repair.evaluation.report.plots.bill import bill_plot
from llm_repair.evaluation.report.plots.changes import changes_plot
from llm_repair.evaluation.report.plots.distribution import SideValues, distribution_plot
from llm_repair.evaluation.report.plots.intervals import IntervalRow, intervals_plot
from llm_repair.evaluation.report.plots.selection_map import MapPoint, selection_map_plot
from llm_repair.evaluation.report.plots.thresholds import thresholds_plot
from llm_repair.evaluation.report.plots.training import Course, Points, training_plot
from llm_repair.evaluation.report.readings import MetricReading, find
from llm_repair.evaluation.report.records import PromptChange, PromptScores
from llm_repair.evaluation.report.stages import StageCost

MOST_ROWS = 24
"""Of a plot of intervals: more of them are no longer compared by eye; the table beside it has them all."""


def distribution(scores: Sequence[PromptScores], occasion: Occasion) -> str:
    """Histogram of the mean score per prompt."""
    sides = _sides(occasion, [s.mean("base") for s in scores], [s.mean("repaired") for s in scores])
    return distribution_plot(sides) if sides else ""


def thresholds(scores: Sequence[PromptScores], occasion: Occasion) -> str:
    """Share of prompts with a toxic output by what counts as toxic."""
    sides = _sides(occasion, [s.largest("base") for s in scores], [s.largest("repaired") for s in scores])
    return thresholds_plot(sides, marked=TOXIC_THRESHOLD) if sides else ""


def changes(found: Sequence[PromptChange]) -> str:
    """Change by prompt."""
    return changes_plot([item.change for item in found]) if found else ""


def perplexity(metrics: Sequence[MetricReading], gate: JsonObject) -> str:
    """Change of perplexity by corpus, with the gate's limit where all corpora share one."""
    rows = [_row(item, wording.subject_title(parse(item.id).subject)) for item in token_perplexities(metrics)]
    drawn = [row for row in rows if row]
    limits = {
        1.0 + margin
        for item in objects_at(gate, "criteria")
        if text_at(item, "metric").startswith("perplexity.")
        and (margin := number_at(item, "rule", "margin")) is not None
    }
    if not drawn:
        return ""
    return intervals_plot(
        "perplexity",
        "Change of perplexity",
        drawn,
        no_change=1.0,
        write_tick=lambda value, places: formats.signed_percent(value - 1.0, max(0, places - 2)),
        limit=limits.pop() if len(limits) == 1 else None,
    )


def token_perplexities(metrics: Sequence[MetricReading]) -> tuple[MetricReading, ...]:
    """Returns the perplexity per token of every corpus."""
    names = [(item, parse(item.id)) for item in metrics]
    return tuple(item for item, name in names if name.family is Family.PERPLEXITY and name.measure == "token")


def judges(metrics: Sequence[MetricReading], gating: str) -> str:
    """Change of mean toxicity for every judge, and on the prompts without swear words, on one axis."""
    rows = [
        _row(item, _judge_label(item, gating))
        for item in metrics
        if parse(item.id).family is Family.TOXICITY and parse(item.id).measure == "mean" and not item.slice
    ]
    return _differences("judges", "Change of mean toxicity by judge", [row for row in rows if row])


def attributes(metrics: Sequence[MetricReading]) -> str:
    """Change by label of the gating judge."""
    rows = [_row(item, wording.wording(item.id).title) for item in metrics if _is_attribute(item)]
    return _differences("attributes", "Change by kind of toxicity", [row for row in rows if row])


def groups(name: str, metrics: Sequence[MetricReading], metric: str) -> str:
    """Change of one metric by group, the worst first."""
    sliced = [item for item in metrics if item.id == metric and item.slice and item.change.value is not None]
    sign = 1 if sliced and sliced[0].lower_is_better else -1
    worst = sorted(sliced, key=lambda item: (-sign * (item.change.value or 0.0), item.slice))[:MOST_ROWS]
    rows = [row for item in worst if (row := _row(item, item.slice))]
    title = f"Change of {wording.in_sentence(metric)} by group"
    return _differences(name, title, rows, worse_is_right=sign > 0)


def control(
    main: Sequence[MetricReading],
    control_arm: Sequence[MetricReading],
    difference: Sequence[MetricReading],
    names: tuple[str, str],
) -> str:
    """Change of mean toxicity in both arms, and the difference between them."""
    strategy, control_strategy = names
    labelled = (
        (find(main, "toxicity.mean"), f"{strategy} against base"),
        (find(control_arm, "toxicity.mean"), f"{control_strategy} against base"),
        (find(difference, "toxicity.mean"), f"{strategy} against {control_strategy}"),
    )
    rows = [row for metric, label in labelled if metric and (row := _row(metric, label))]
    return _differences("control", "Change of mean toxicity in both arms", rows)


def bill(costs: Sequence[StageCost]) -> str:
    """Time by stage."""
    return bill_plot(costs) if any(cost.wall_s or cost.reused_wall_s for cost in costs) else ""


def selection_map(document: JsonObject) -> str:
    """The pool in two dimensions."""
    drawn = object_at(document, "selection", "map")
    columns = zip(list_at(drawn, "x"), list_at(drawn, "y"), list_at(drawn, "rank"), strict=False)
    points = [
        MapPoint(float(x), float(y), is_chosen=rank is not None)
        for x, y, rank in columns
        if isinstance(x, int | float) and isinstance(y, int | float)
    ]
    return selection_map_plot(points) if points else ""


def training(document: JsonObject) -> str:
    """Loss, validation, learning rate, gradient norm and updated blocks by optimizer step."""
    curve = objects_at(document, "training", "curve", "curve")
    course = Course(
        loss=_points(curve, "loss"),
        validation=_points(objects_at(document, "training", "curve", "validations"), "loss"),
        learning_rate=_points(curve, "learning_rate"),
        gradient_norm=_points(curve, "gradient_norm"),
        blocks=_points(curve, "block"),
        kept_step=number_at(document, "training", "summary", "kept_step"),
    )
    return training_plot(course) if course.loss else ""


def _sides(occasion: Occasion, base: Sequence[float | None], repaired: Sequence[float | None]) -> list[SideValues]:
    sides = [
        SideValues(occasion.before, "before", [value for value in base if value is not None]),
        SideValues(occasion.after, "after", [value for value in repaired if value is not None]),
    ]
    return [side for side in sides if side.values]


def _points(items: Sequence[JsonObject], name: str) -> Points:
    pairs = [(number_at(item, "step"), number_at(item, name)) for item in items]
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def _is_attribute(metric: MetricReading) -> bool:
    return parse(metric.id).family is Family.ATTRIBUTE and not metric.slice


def _differences(name: str, title: str, rows: Sequence[IntervalRow], *, worse_is_right: bool = True) -> str:
    if not rows:
        return ""
    return intervals_plot(
        name,
        title,
        rows,
        no_change=0.0,
        write_tick=formats.signed,
        worse_is_right=worse_is_right,
    )


def _row(metric: MetricReading, label: str) -> IntervalRow | None:
    change = metric.change
    if change.value is None or change.low is None or change.high is None:
        return None
    interval = wording.written_interval(metric, change, change=True)
    return IntervalRow(label, change.value, change.low, change.high, f"{wording.written_change(metric)} {interval}")


def _judge_label(metric: MetricReading, gating: str) -> str:
    name = metric.judge or gating
    part = wording.slice_name(parse(metric.id))
    return f"{name}, {part}" if part else f"{name}, gating" if name == gating else name
