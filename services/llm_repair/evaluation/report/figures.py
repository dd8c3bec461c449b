"""Which plots a report has: each is drawn from `report.json` alone, and left out where its data are missing."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.evaluation.report import formats, wording
from llm_repair.evaluation.report.headline import token_perplexities
from llm_repair.evaluation.report.json_access import JsonObject, list_at, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.plots.bill import bill_plot
from llm_repair.evaluation.report.plots.changes import changes_plot
from llm_repair.evaluation.report.plots.distribution import distribution_plot
from llm_repair.evaluation.report.plots.intervals import IntervalRow, intervals_plot
from llm_repair.evaluation.report.plots.selection_map import MapPoint, selection_map_plot
from llm_repair.evaluation.report.plots.training import training_plot
from llm_repair.evaluation.report.readings import MetricReading, find
from llm_repair.evaluation.report.records import PromptScores, compared
from llm_repair.evaluation.report.stages import StageCost


def distribution(scores: Sequence[PromptScores]) -> str:
    """Histogram before and after."""
    rows = compared(scores)
    return distribution_plot([row[1] for row in rows], [row[2] for row in rows]) if rows else ""


def changes(scores: Sequence[PromptScores]) -> str:
    """Change by prompt."""
    rows = compared(scores)
    return changes_plot([row[3] for row in rows]) if rows else ""


def perplexity(metrics: Sequence[MetricReading], gate: JsonObject) -> str:
    """Change of perplexity by corpus, with the gate's limit where all corpora share one."""
    rows = [_row(item, wording.corpus_title(item.id.split(".")[1])) for item in token_perplexities(metrics)]
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
        write_tick=lambda value: formats.signed_percent(value - 1.0),
        limit=limits.pop() if len(limits) == 1 else None,
    )


def judges(metrics: Sequence[MetricReading], gating: str) -> str:
    """Change of mean toxicity for every judge and slice on one axis."""
    rows = [
        _row(item, _judge_label(item, gating))
        for item in metrics
        if item.id.startswith("toxicity.") and item.id.endswith(".mean")
    ]
    return _differences("judges", "Change of mean toxicity by judge and slice", [row for row in rows if row])


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
    columns = zip(list_at(drawn, "x"), list_at(drawn, "y"), list_at(drawn, "rank"), strict=True)
    points = [
        MapPoint(float(x), float(y), is_chosen=rank is not None)
        for x, y, rank in columns
        if isinstance(x, int | float) and isinstance(y, int | float)
    ]
    return selection_map_plot(points) if points else ""


def training(document: JsonObject) -> str:
    """Loss by optimizer step."""
    curve = _points(objects_at(document, "training", "curve", "curve"))
    validation = _points(objects_at(document, "training", "curve", "validations"))
    return training_plot(curve, validation) if curve else ""


def _points(items: Sequence[JsonObject]) -> list[tuple[float, float]]:
    pairs = [(number_at(item, "step"), number_at(item, "loss")) for item in items]
    return [(step, loss) for step, loss in pairs if step is not None and loss is not None]


def _differences(name: str, title: str, rows: Sequence[IntervalRow]) -> str:
    if not rows:
        return ""
    return intervals_plot(name, title, rows, no_change=0.0, write_tick=lambda value: formats.signed(value, 2))


def _row(metric: MetricReading, label: str) -> IntervalRow | None:
    change = metric.change
    if change.value is None or change.low is None or change.high is None:
        return None
    interval = wording.written_interval(metric, change, change=True)
    return IntervalRow(label, change.value, change.low, change.high, f"{wording.written_change(metric)} {interval}")


def _judge_label(metric: MetricReading, gating: str) -> str:
    name = metric.judge or gating
    part = wording.slice_name(metric.id)
    return f"{name}, {part}" if part else f"{name}, gating" if metric.gating else name
