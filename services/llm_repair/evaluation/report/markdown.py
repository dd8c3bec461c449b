"""The report as Markdown, for pull requests and job summaries: numbers only, no text of a prompt or an output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm_repair.evaluation.report import account, headline, tables
from llm_repair.evaluation.report.document import Document
from llm_repair.evaluation.report.examples import Texts, improvements, regressions
from llm_repair.evaluation.report.json_access import object_at, objects_at, text_at
from llm_repair.evaluation.report.page import control_view
from llm_repair.evaluation.report.readings import read_metrics
from llm_repair.evaluation.report.records import prompt_scores
from llm_repair.evaluation.report.stages import costs_by_stage

_COLUMNS = ("Metric", "Judge", "Before", "After", "Change", "Interval", "Finding")


def render_markdown(document: Document) -> str:
    """Returns the report in GitHub's Markdown."""
    metrics = read_metrics(objects_at(document, "metrics"))
    name = text_at(document, "repair", "name").rpartition("/")[2]
    verdict = text_at(document, "verdict")
    blocks = [
        f"# Repair {_cell(name)}: {verdict}",
        _cell(headline.verdict_sentence(object_at(document, "gate"), verdict, metrics)),
        _cell(headline.bill_sentence(costs_by_stage(objects_at(document, "steps")))),
        "\n".join(f"- {fact.name}: {_cell(fact.value)}" for fact in account.summary_facts(document)),
        "## Criteria",
        _criteria(document),
        "## Toxicity",
        " ".join(_cell(note) for note in account.judge_notes(document)),
        _metrics(tables.metric_rows(metrics, tables.is_toxicity)),
        *_examples(document),
        "## Language ability",
        _metrics(tables.metric_rows(metrics, tables.is_perplexity)),
        *_guards(tables.metric_rows(metrics, tables.is_guard)),
        *_control(document),
        "## Limits",
        "\n".join(f"- {_cell(sentence)}" for sentence in account.limits(document)),
        "## Reused steps",
        _reused(document),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _criteria(document: Document) -> str:
    rows = tables.criterion_rows(object_at(document, "gate"), read_metrics(objects_at(document, "metrics")))
    return _table(
        ("Criterion", "Requirement", "Measured", "Verdict"),
        ((row.title, row.requirement, row.measured or row.reason, row.verdict) for row in rows),
    )


def _metrics(rows: Sequence[tables.MetricRow]) -> str:
    if not rows:
        return "Not measured."
    return _table(
        _COLUMNS,
        ((r.title, r.judge, r.base, r.repaired, r.change, r.interval, r.finding or f"none: {r.missing}") for r in rows),
    )


def _guards(rows: Sequence[tables.MetricRow]) -> tuple[str, ...]:
    return ("## Guards against a broken model", _metrics(rows)) if rows else ()


def _examples(document: Document) -> tuple[str, ...]:
    scores = prompt_scores(document.get("records"), text_at(document, "judges", "gating"))
    kinds = {"Largest falls": improvements(scores, Texts()), "Largest rises": regressions(scores, Texts())}
    lines = [
        f"- {kind}: "
        + ", ".join(f"`{_cell(example.prompt_id).replace('`', '')}` {example.change}" for example in found)
        for kind, found in kinds.items()
        if found
    ]
    return ("\n".join(["By prompt (texts are in the HTML page, masked):", "", *lines]),) if lines else ()


def _control(document: Document) -> tuple[str, ...]:
    control = control_view(document, read_metrics(objects_at(document, "metrics")))
    if control is None:
        return ("## Control arm", "No control arm was run, so nothing is known about the worth of the selection.")
    columns = ("Metric", "Base", control.control_strategy, control.strategy, "Difference", "Interval", "Finding")
    rows = ((r.title, r.base, r.control, r.repaired, r.difference, r.interval, r.finding) for r in control.rows)
    return (f"## {control.strategy} against {control.control_strategy}", control.sentence, _table(columns, rows))


def _reused(document: Document) -> str:
    reused = [row.name for row in tables.step_rows(objects_at(document, "steps")) if row.is_reused]
    return ", ".join(f"`{name}`" for name in reused) or "None: every step ran for this repair."


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Escapes what Markdown or HTML would take for markup."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, written)
    return text
