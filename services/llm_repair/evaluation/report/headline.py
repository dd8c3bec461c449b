"""The first screen: the verdict, its reason in one sentence, three numbers and the bill in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.evaluation.report import formats, wording
from llm_repair.evaluation.report.json_access import JsonObject, objects_at, text_at
from llm_repair.evaluation.report.readings import MetricReading, Reading, find
from llm_repair.evaluation.report.stages import Stage, StageCost, total_s

_INVISIBLE_RISE = 0.0005
"""Of perplexity, as a share: less is 0.0 % as written."""


@dataclass(frozen=True)
class Number:
    """A number on the page with the exact value it was written from."""

    written: str
    exact: float | None
    source: str
    """Where it stands in `report.json`: metric id and side."""


@dataclass(frozen=True)
class HeadlineRow:
    """One metric before and after."""

    label: str
    """Empty where the card has one row only."""
    base: Number
    repaired: Number
    change: Number
    interval: str
    relative: str
    missing: str
    """Why there is no change; empty when there is one."""
    is_better: bool | None
    """None when the interval holds no change, or there is none."""


@dataclass(frozen=True)
class Headline:
    """One of the three cards."""

    title: str
    explanation: str
    rows: tuple[HeadlineRow, ...]


def verdict_sentence(gate: JsonObject, verdict: str, metrics: Sequence[MetricReading]) -> str:
    """Returns the reason of the verdict in plain words."""
    criteria = objects_at(gate, "criteria")
    if not criteria:
        return "The gate had no criteria to check."
    outcome = _outcome(metrics)
    failed = [item for item in criteria if text_at(item, "verdict") == "FAIL"]
    undecided = [item for item in criteria if text_at(item, "verdict") == "INCONCLUSIVE"]
    if verdict == "PASS":
        met = "The only criterion is met" if len(criteria) == 1 else f"All {len(criteria)} criteria are met"
        return f"{met}: {outcome}." if outcome else f"{met}."
    if verdict == "FAIL":
        sentence = f"{len(failed)} of {_criteria(len(criteria))} not met: {_titles(failed)}."
    else:
        sentence = (
            f"Nothing failed, but {len(undecided)} of {_criteria(len(criteria))} undecided: {_titles(undecided)}."
        )
    return f"{sentence} {outcome[:1].upper()}{outcome[1:]}." if outcome else sentence


def _criteria(count: int) -> str:
    return "1 criterion is" if count == 1 else f"{count} criteria are"


def _outcome(metrics: Sequence[MetricReading]) -> str:
    """Returns what became of toxicity and perplexity, in half a sentence."""
    return ", and ".join(clause for clause in (_toxicity_outcome(metrics), _perplexity_outcome(metrics)) if clause)


def _toxicity_outcome(metrics: Sequence[MetricReading]) -> str:
    metric = find(metrics, "toxicity.mean")
    if metric is None or metric.change.value is None:
        return ""
    if not metric.is_separated:
        return "mean toxicity did not clearly change"
    verb = "fell" if metric.change.value < 0 else "rose"
    relative = metric.relative_change
    return f"mean toxicity {verb}" + (f" by {formats.percent(abs(relative))}" if relative is not None else "")


def _perplexity_outcome(metrics: Sequence[MetricReading]) -> str:
    rises = [metric.change.value - 1 for metric in token_perplexities(metrics) if metric.change.value is not None]
    if not rises:
        return ""
    if max(rises) < _INVISIBLE_RISE:
        return "perplexity did not rise"
    return f"perplexity rose by {'at most ' if len(rises) > 1 else ''}{formats.percent(max(rises), 1)}"


def headlines(metrics: Sequence[MetricReading]) -> tuple[Headline, ...]:
    """Returns the cards: mean toxicity, share of prompts with a toxic output, perplexity by corpus."""
    cards = [_card(metrics, metric) for metric in ("toxicity.mean", "toxicity.probability")]
    rows = tuple(_row(item, wording.corpus_title(item.id.split(".")[1])) for item in token_perplexities(metrics))
    explanation = "How surprised the model is by ordinary text. A rise is the price of the repair."
    cards.append(Headline("Perplexity", explanation, rows))
    return tuple(cards)


def token_perplexities(metrics: Sequence[MetricReading]) -> tuple[MetricReading, ...]:
    """Returns the perplexity per token of every corpus."""
    return tuple(item for item in metrics if item.id.startswith("perplexity.") and item.id.endswith(".token"))


def bill_sentence(costs: Sequence[StageCost]) -> str:
    """Returns the bill in one line."""
    spent = {cost.stage: cost for cost in costs}
    parts = [
        f"{stage.value} {formats.duration(spent[stage].wall_s)}"
        for stage in (Stage.POOL, Stage.SELECTION, Stage.REPAIR, Stage.EVALUATION, Stage.CONTROL)
        if stage in spent and (spent[stage].wall_s or not spent[stage].reused_wall_s)
    ]
    line = f"{formats.duration(total_s(costs))} in all: {', '.join(parts) or 'nothing had to run'}."
    reused = sum(cost.reused_wall_s for cost in costs if cost.stage is not Stage.SET_UP)
    line += f" Reuse of earlier results saved {formats.duration(reused)}." if reused else ""
    set_up = spent.get(Stage.SET_UP)
    if set_up and set_up.wall_s:
        line += f" Set-up (downloads and imports, once per machine) took {formats.duration(set_up.wall_s)} more."
    return line


def _titles(criteria: Sequence[JsonObject]) -> str:
    return ", ".join(wording.in_sentence(text_at(item, "metric")) for item in criteria)


def _card(metrics: Sequence[MetricReading], metric: str) -> Headline:
    known = wording.wording(metric)
    found = find(metrics, metric)
    return Headline(known.title, known.explanation, (_row(found, ""),) if found else ())


def _row(metric: MetricReading, label: str) -> HeadlineRow:
    relative = metric.relative_change
    shows_relative = relative is not None and metric.no_change == 0.0
    return HeadlineRow(
        label=label,
        base=_number(metric, metric.base, "base"),
        repaired=_number(metric, metric.repaired, "repaired"),
        change=Number(wording.written_change(metric), metric.change.value, f"{metric.id}/change"),
        interval=wording.written_interval(metric, metric.change, change=True),
        relative=formats.signed_percent(relative, 0) if relative is not None and shows_relative else "",
        missing=wording.reason(metric.change.reason) if metric.change.value is None else "",
        is_better=is_better(metric),
    )


def is_better(metric: MetricReading) -> bool | None:
    """Returns whether the change is for the better; None where its interval holds no change."""
    if not metric.is_separated or metric.change.value is None:
        return None
    return (metric.change.value < metric.no_change) == metric.lower_is_better


def _number(metric: MetricReading, reading: Reading, side: str) -> Number:
    return Number(wording.written(metric, reading), reading.value, f"{metric.id}/{side}")
