"""Renders the page: one self-contained HTML file from `report.json` and the texts of the examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from llm_repair.core.missing_reasons import in_words
from llm_repair.evaluation.report import (
    account,
    bill,
    caveats,
    examples,
    figures,
    formats,
    headline,
    judge_tables,
    limits,
    reproduction,
    tables,
    wording,
)
from llm_repair.evaluation.report.document import Document
from llm_repair.evaluation.report.examples import Texts
from llm_repair.evaluation.report.json_access import object_at, objects_at, text_at
from llm_repair.evaluation.report.metric_names import Family, parse
from llm_repair.evaluation.report.occasion import Occasion, occasion_of
from llm_repair.evaluation.report.readings import MetricReading, find, read_metrics
from llm_repair.evaluation.report.records import changes, prompt_scores
from llm_repair.evaluation.report.stages import costs_by_stage

_TEMPLATES = Path(__file__).with_name("templates")
LONGEST_TEXT = 20_000
"""Characters of anything but our own words: a name or a reason of a megabyte must not swell the page."""


@dataclass(frozen=True)
class ControlView:
    """The control arm as the page shows it."""

    strategy: str
    control_strategy: str
    rows: tuple[tables.ControlRow, ...]
    sentence: str
    plot: str
    """SVG; empty where there is nothing to draw."""


@dataclass(frozen=True)
class GroupView:
    """One metric by group."""

    title: str
    plot: str
    rows: tuple[tables.MetricRow, ...]


def render_page(document: Document, texts: Texts) -> str:
    """Returns the HTML page. Everything but our own drawings is escaped, and nothing in it is invisible."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mask"] = examples.mask
    return environment.get_template("report.html.jinja").render(_content(document, texts))


def _printable(value: object) -> object:
    # Markup, a subclass of str, is our own.
    return formats.printable(formats.cut(value, LONGEST_TEXT)) if type(value) is str else value


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
    occasion = occasion_of(document)
    metrics = read_metrics(objects_at(document, "metrics"))
    gate = object_at(document, "gate")
    return {
        "document": document,
        "occasion": occasion,
        "title": title(document, occasion),
        "asked_at": text_at(document, "repair", "create_time")[:16].replace("T", " "),
        "sentence": headline.verdict_sentence(gate, text_at(document, "verdict"), metrics, occasion),
        "headlines": headline.headlines(metrics, gate, occasion),
        "facts": account.summary_facts(document, occasion),
        "criteria": tables.criterion_rows(gate, metrics),
        "gating": text_at(document, "judges", "gating"),
        "power_note": limits.power_note(document, occasion),
        "undecided_note": limits.undecided_note(document, occasion),
        "confidence": account.confidence(document),
        "control": control_view(document, metrics),
        "composites": tables.composite_rows(metrics, object_at(document, "composites")),
        "has_nonprofane": any(parse(metric.id).is_nonprofane for metric in metrics),
        **_metric_tables(metrics, occasion, text_at(document, "judges", "gating")),
        **_prompts(document, texts, occasion),
        **_judges(document, occasion),
        **_caveats(document, occasion),
        **_provenance(document, occasion),
        **_bill(document),
        "plots": _plots(document, metrics),
    }


def title(document: Document, occasion: Occasion) -> str:
    """Returns the name of the report, such as `Repair smollm2-saps-25`."""
    return f"{occasion.noun.capitalize()} {text_at(document, 'repair', 'name').rpartition('/')[2]}"


def _metric_tables(metrics: Sequence[MetricReading], occasion: Occasion, gating: str) -> dict[str, object]:
    wanted = {
        "toxicity_rows": tables.over_all(Family.TOXICITY),
        "attribute_rows": tables.over_all(Family.ATTRIBUTE),
        "perplexity_rows": tables.over_all(Family.PERPLEXITY, measures=("token",)),
        "restated_rows": tables.over_all(Family.PERPLEXITY, but=("token",)),
        "cloze_rows": tables.over_all(Family.CLOZE),
        "guard_rows": tables.over_all(Family.DEGENERACY, Family.OTHER),
        "prompt_set_rows": tables.over_all(Family.PROMPT_SET),
        "bias_rows": tables.over_all(Family.BIAS),
    }
    return {
        **{name: tables.metric_rows(metrics, belongs, occasion) for name, belongs in wanted.items()},
        **{
            f"{family.value}_groups": _groups(metrics, occasion, family, gating)
            for family in (Family.TOXICITY, Family.PROMPT_SET, Family.BIAS)
        },
    }


def _groups(metrics: Sequence[MetricReading], occasion: Occasion, family: Family, gating: str) -> tuple[GroupView, ...]:
    """Returns every metric of a family that is given by group; those of a second judge without a plot."""
    views: list[GroupView] = []
    for metric in tables.metrics_by_group(metrics, family):
        rows = tables.metric_rows(metrics, tables.by_group(metric), occasion)
        is_second = bool(rows[0].judge) and rows[0].judge != gating
        drawn = occasion.has_base and not is_second
        plot = figures.groups(f"groups-{metric.replace('.', '-')}", metrics, metric) if drawn else ""
        title = wording.wording(metric).title + (f", {rows[0].judge}" if is_second else "")
        views.append(GroupView(title, plot, rows))
    return tuple(views)


def _prompts(document: Document, texts: Texts, occasion: Occasion) -> dict[str, object]:
    """What is known prompt by prompt: the distributions, who got worse, and examples."""
    scores = prompt_scores(document.get("records"), text_at(document, "judges", "gating"))
    found = changes(scores)
    labels = occasion.before.capitalize(), occasion.after.capitalize()
    return {
        "distribution_plot": figures.distribution(scores, occasion),
        "thresholds_plot": figures.thresholds(scores, occasion),
        "changes_plot": figures.changes(found),
        "crossings": caveats.crossing_sentence(document, occasion),
        "regression_rows": examples.regression_rows(found),
        "regressions": examples.regressions(found, texts, labels),
        "improvements": examples.improvements(found, texts, labels),
        "most_toxic": () if occasion.has_base else examples.most_toxic(scores, texts),
    }


def _judges(document: Document, occasion: Occasion) -> dict[str, object]:
    return {
        "judge_rows": judge_tables.judge_rows(document),
        "judge_kinds": judge_tables.kind_rows(document),
        "calibration_note": judge_tables.calibration_note(document),
        "agreement_rows": judge_tables.agreement_rows(document, occasion),
        "judge_notes": judge_tables.judge_notes(document, occasion),
        "missing_note": judge_tables.missing_note(document, occasion),
    }


def _caveats(document: Document, occasion: Occasion) -> dict[str, object]:
    return {
        "alarms": caveats.alarms(document),
        "checks": caveats.check_rows(document),
        "contamination": caveats.contamination_sentences(document),
        "alike": caveats.pair_rows(document),
        "sequential": caveats.sequential_sentences(document),
        "warnings": caveats.warning_sentences(document),
        "limits": limits.limits(document, occasion),
    }


def _provenance(document: Document, occasion: Occasion) -> dict[str, object]:
    return {
        "protocol": account.protocol_sentences(document, occasion),
        "provenance": account.provenance_facts(document, occasion),
        "fetch_commands": reproduction.fetch_commands(document),
        "repeat_command": reproduction.repeat_command(document, occasion),
        "request_text": reproduction.request_text(document),
        "request_file": reproduction.REQUEST_FILE,
    }


def _bill(document: Document) -> dict[str, object]:
    steps = objects_at(document, "steps")
    rows = bill.step_rows(steps)
    costs = costs_by_stage(steps)
    return {
        "bill_sentence": bill.bill_sentence(costs),
        "bill_plot": figures.bill(costs),
        "steps": rows,
        "resources": bill.resource_facts(document),
        "reused": [row.name for row in rows if row.is_reused],
        "retried": bill.retried(steps),
    }


def _plots(document: Document, metrics: Sequence[MetricReading]) -> dict[str, str]:
    return {
        "perplexity": figures.perplexity(metrics, object_at(document, "gate")),
        "judges": figures.judges(metrics, text_at(document, "judges", "gating")),
        "attributes": figures.attributes(metrics),
        "map": figures.selection_map(document),
        "training": figures.training(document),
    }


def _separation(metric: MetricReading | None, names: tuple[str, str]) -> str:
    strategy, control = names
    if metric is None or metric.change.value is None:
        why = in_words(metric.change.reason) if metric else "not measured"
        return f"No difference between {strategy} and {control} can be given: {why}."
    measured = f"{wording.written_change(metric)} {wording.written_interval(metric, metric.change, change=True)}"
    if not metric.is_separated:
        return (
            f"Not separated: {strategy} minus {control} is {measured} in mean toxicity. The interval holds zero, so "
            f"this run does not show that choosing by {strategy} is better, or worse, than choosing at random."
        )
    which = "less" if metric.change.value < 0 else "more"
    return f"Separated: {strategy} leaves {which} toxicity than {control}, {measured} in mean toxicity."
