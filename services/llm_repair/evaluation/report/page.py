"""Renders the page: one self-contained HTML file from `report.json` and the texts of the examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from llm_repair.evaluation.report import account, examples, figures, headline, reproduction, tables, wording
from llm_repair.evaluation.report.document import Document
from llm_repair.evaluation.report.examples import Texts
from llm_repair.evaluation.report.json_access import object_at, objects_at, text_at
from llm_repair.evaluation.report.readings import MetricReading, find, read_metrics
from llm_repair.evaluation.report.records import prompt_scores
from llm_repair.evaluation.report.stages import costs_by_stage

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class ControlView:
    """The control arm as the page shows it."""

    strategy: str
    control_strategy: str
    rows: tuple[tables.ControlRow, ...]
    sentence: str
    plot: str
    """SVG; empty where there is nothing to draw."""


def render_page(document: Document, texts: Texts) -> str:
    """Returns the HTML page. Everything but our own drawings is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mask"] = examples.mask
    environment.filters["short_reason"] = tables.short_reason
    return environment.get_template("report.html.jinja").render(_content(document, texts))


def control_view(document: Document, main: Sequence[MetricReading]) -> ControlView | None:
    """Returns the control arm; None when there was none."""
    found = object_at(document, "control")
    if not found:
        return None
    control, difference = read_metrics(objects_at(found, "metrics")), read_metrics(objects_at(found, "difference"))
    names = (
        account.strategy_name(text_at(document, "selection", "strategy")),
        account.strategy_name(text_at(found, "strategy")),
    )
    return ControlView(
        *names,
        tables.control_rows(main, difference, names),
        _separation(find(difference, "toxicity.mean"), names),
        figures.control(main, control, difference, names),
    )


def _content(document: Document, texts: Texts) -> dict[str, object]:
    metrics = read_metrics(objects_at(document, "metrics"))
    gating = text_at(document, "judges", "gating")
    scores = prompt_scores(document.get("records"), gating)
    return {
        "document": document,
        "title": _title(document),
        "sentence": headline.verdict_sentence(object_at(document, "gate"), text_at(document, "verdict"), metrics),
        "headlines": headline.headlines(metrics),
        "facts": account.summary_facts(document),
        "criteria": tables.criterion_rows(object_at(document, "gate"), metrics),
        "toxicity_rows": tables.metric_rows(metrics, tables.is_toxicity),
        "perplexity_rows": tables.metric_rows(metrics, tables.is_perplexity),
        "restated_rows": tables.metric_rows(metrics, tables.is_restated),
        "guard_rows": tables.metric_rows(metrics, tables.is_guard),
        "gating": gating,
        "judge_notes": account.judge_notes(document),
        "power_note": account.power_note(document),
        "confidence": account.confidence(document),
        "control": control_view(document, metrics),
        "regressions": examples.regressions(scores, texts),
        "improvements": examples.improvements(scores, texts),
        "protocol": account.protocol_paragraphs(document),
        "limits": account.limits(document),
        "provenance": account.provenance_facts(document),
        "fetch_commands": reproduction.fetch_commands(document),
        "repeat_command": reproduction.repeat_command(document),
        **_bill(document),
        "plots": _plots(document, metrics),
    }


def _bill(document: Document) -> dict[str, object]:
    steps = objects_at(document, "steps")
    rows = tables.step_rows(steps)
    costs = costs_by_stage(steps)
    return {
        "bill_sentence": headline.bill_sentence(costs),
        "bill_plot": figures.bill(costs),
        "steps": rows,
        "resources": account.resource_facts(document),
        "reused": [row.name for row in rows if row.is_reused],
    }


def _plots(document: Document, metrics: Sequence[MetricReading]) -> dict[str, str]:
    gating = text_at(document, "judges", "gating")
    scores = prompt_scores(document.get("records"), gating)
    return {
        "distribution": figures.distribution(scores),
        "changes": figures.changes(scores),
        "perplexity": figures.perplexity(metrics, object_at(document, "gate")),
        "judges": figures.judges(metrics, gating),
        "map": figures.selection_map(document),
        "training": figures.training(document),
    }


def _title(document: Document) -> str:
    return "Repair " + text_at(document, "repair", "name").rpartition("/")[2]


def _separation(metric: MetricReading | None, names: tuple[str, str]) -> str:
    strategy, control = names
    if metric is None or metric.change.value is None:
        why = wording.reason(metric.change.reason) if metric else "not measured"
        return f"No difference between {strategy} and {control} can be given: {why}."
    measured = f"{wording.written_change(metric)} {wording.written_interval(metric, metric.change, change=True)}"
    if not metric.is_separated:
        return (
            f"Not separated: {strategy} minus {control} is {measured} in mean toxicity. The interval holds zero, so "
            f"this run does not show that choosing by {strategy} is better, or worse, than choosing at random."
        )
    which = "less" if metric.change.value < 0 else "more"
    return f"Separated: {strategy} leaves {which} toxicity than {control}, {measured} in mean toxicity."
