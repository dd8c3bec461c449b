"""The report as Markdown, for pull requests and job summaries: numbers only, no text of a prompt or an output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from llm_repair.evaluation.report import account, bill, caveats, formats, headline, judge_tables, limits, tables
from llm_repair.evaluation.report.document import Document
from llm_repair.evaluation.report.examples import RegressionRow, regression_rows
from llm_repair.evaluation.report.json_access import object_at, objects_at, text_at
from llm_repair.evaluation.report.metric_names import Family
from llm_repair.evaluation.report.occasion import Occasion, occasion_of
from llm_repair.evaluation.report.page import control_view, title
from llm_repair.evaluation.report.readings import MetricReading, read_metrics
from llm_repair.evaluation.report.records import changes, prompt_scores
from llm_repair.evaluation.report.stages import costs_by_stage

_REGRESSIONS = 5
"""Ids of prompts that got worse; the page has more."""


def render_markdown(document: Document) -> str:
    """Returns the report in GitHub's Markdown: what decides in sight, the rest folded up."""
    occasion = occasion_of(document)
    metrics = read_metrics(objects_at(document, "metrics"))
    verdict = text_at(document, "verdict")
    blocks = [
        f"# {_cell(title(document, occasion))}: {verdict or 'measured'}",
        _cell(headline.verdict_sentence(object_at(document, "gate"), verdict, metrics, occasion)),
        "\n".join(f"- **{_cell(sentence)}**" for sentence in caveats.alarms(document)),
        _headlines(metrics, document, occasion),
        *_section("Criteria", _criteria(document, metrics)),
        *_control_sentence(document, metrics, occasion),
        _cell(bill.bill_sentence(costs_by_stage(objects_at(document, "steps")))),
        "\n".join(f"- {fact.name}: {_cell(fact.value)}" for fact in account.summary_facts(document, occasion)),
        "<details><summary>All metrics, regressions, checks and limits</summary>",
        *_details(document, metrics, occasion),
        "</details>",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _details(document: Document, metrics: Sequence[MetricReading], occasion: Occasion) -> tuple[str, ...]:
    return (
        *_metric_section("Toxicity", metrics, occasion, tables.over_all(Family.TOXICITY)),
        " ".join(_cell(note) for note in judge_tables.judge_notes(document, occasion)),
        *_regressions(document),
        *_metric_section("Language ability", metrics, occasion, _is_ability),
        *_metric_section("Guards", metrics, occasion, tables.over_all(Family.DEGENERACY, Family.PROMPT_SET)),
        *_metric_section("Bias", metrics, occasion, tables.over_all(Family.BIAS)),
        *_control(document, metrics),
        *_section("Checks", _checks(document)),
        *_section("Limits", "\n".join(f"- {_cell(sentence)}" for sentence in limits.limits(document, occasion))),
        *_section("Reused steps", _reused(document)),
    )


def _headlines(metrics: Sequence[MetricReading], document: Document, occasion: Occasion) -> str:
    """Returns the three numbers of the first screen as a table."""
    cards = headline.headlines(metrics, object_at(document, "gate"), occasion)
    numbers = [(f"{card.title} {row.label}".strip(), row) for card in cards for row in card.rows]
    if not numbers:
        return ""
    if not occasion.has_base:
        cells = ((name, row.repaired.written, row.interval or row.missing, row.units) for name, row in numbers)
        return _table(("", "Value", "Interval", "Over"), cells)
    columns = ("", occasion.before.capitalize(), occasion.after.capitalize(), "Change", "Interval", "Over")
    return _table(columns, (_compared(name, row) for name, row in numbers))


def _compared(name: str, row: headline.HeadlineRow) -> tuple[str, ...]:
    sides = (number.written if number else "" for number in (row.base, row.repaired, row.change))
    return (name, *sides, row.interval or row.missing, row.units)


def _section(heading: str, content: str) -> tuple[str, ...]:
    return (f"## {heading}", content) if content else ()


def _criteria(document: Document, metrics: Sequence[MetricReading]) -> str:
    rows = tables.criterion_rows(object_at(document, "gate"), metrics)
    if not rows:
        return ""
    return _table(
        ("Criterion", "Requirement", "Measured", "Units", "Verdict"),
        ((row.title, row.requirement, row.measured or row.reason, row.n, row.verdict) for row in rows),
    )


def _is_ability(metric: MetricReading) -> bool:
    is_perplexity = tables.over_all(Family.PERPLEXITY, measures=("token",))
    return is_perplexity(metric) or tables.over_all(Family.CLOZE)(metric)


def _metric_section(
    heading: str, metrics: Sequence[MetricReading], occasion: Occasion, belongs: Callable[[MetricReading], bool]
) -> tuple[str, ...]:
    rows = tables.metric_rows(metrics, belongs, occasion)
    if not rows:
        return ()
    if not occasion.has_base:
        cells = ((r.title, r.judge, r.repaired, r.repaired_interval, r.n, r.missing) for r in rows)
        return _section(heading, _table(("Metric", "Judge", "Value", "Interval", "Units", "Note"), cells))
    columns = (
        "Metric",
        "Judge",
        occasion.before.capitalize(),
        occasion.after.capitalize(),
        "Change",
        "Interval",
        "Units",
        "Finding",
    )
    cells = ((r.title, r.judge, r.base, r.repaired, r.change, r.interval, r.n, _finding(r)) for r in rows)
    return _section(heading, _table(columns, cells))


def _finding(row: tables.MetricRow) -> str:
    return ", ".join((row.finding or (f"none: {row.missing}" if row.missing else "none"), *row.notes))


def _regressions(document: Document) -> tuple[str, ...]:
    scores = prompt_scores(document.get("records"), text_at(document, "judges", "gating"))
    rows = regression_rows(changes(scores))[:_REGRESSIONS]
    if not rows:
        return ()
    return (f"Largest rises (texts are in the page, masked): {', '.join(_regression(row) for row in rows)}.",)


def _regression(row: RegressionRow) -> str:
    return f"`{_cell(row.prompt_id)}` {row.change}"


def _control_sentence(document: Document, metrics: Sequence[MetricReading], occasion: Occasion) -> tuple[str, ...]:
    if not occasion.is_repair:
        return ()
    control = control_view(document, metrics)
    if control is None:
        return ("No control arm was run, so nothing is known about the worth of the selection.",)
    return (_cell(control.sentence),)


def _control(document: Document, metrics: Sequence[MetricReading]) -> tuple[str, ...]:
    control = control_view(document, metrics)
    if control is None:
        return ()
    columns = ("Metric", "Base", control.control_strategy, control.strategy, "Difference", "Interval", "Finding")
    rows = ((r.title, r.base, r.control, r.repaired, r.difference, r.interval, r.finding) for r in control.rows)
    return (f"## {_cell(control.strategy)} against {_cell(control.control_strategy)}", _table(columns, rows))


def _checks(document: Document) -> str:
    """Names the checks that do not hold, and what the repair has seen of the prompts."""
    checks = caveats.check_rows(document)
    lines = [f"{row.title}: {row.state}. {row.said}" for row in checks if row.state != "HOLDS"]
    held = [row.title.lower() for row in checks if row.state == "HOLDS"]
    lines = [*([f"Hold: {', '.join(held)}."] if held else []), *lines]
    lines += [*caveats.contamination_sentences(document), *caveats.sequential_sentences(document)[:1]]
    return "\n".join(f"- {_cell(line)}" for line in lines)


def _reused(document: Document) -> str:
    reused = [row.name for row in bill.step_rows(objects_at(document, "steps")) if row.is_reused]
    return ", ".join(f"`{_cell(name)}`" for name in reused) or "None: every step ran for this request."


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "\n": " ", "`": "&#96;", "@": "&#64;", "](": "]\\("}
"""What Markdown or HTML would take for markup, a link, or a person to be told."""


def _cell(text: str) -> str:
    text = formats.printable(formats.cut(text, 2000))
    for markup, written in _MARKUP.items():
        text = text.replace(markup, written)
    return text
