"""The first screen: the verdict, its reason in one sentence, and the three numbers that matter most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.missing_reasons import in_words
from llm_repair.evaluation.report import formats, wording
from llm_repair.evaluation.report.figures import token_perplexities
from llm_repair.evaluation.report.json_access import JsonObject, objects_at, text_at
from llm_repair.evaluation.report.metric_names import Family, parse
from llm_repair.evaluation.report.occasion import Occasion
from llm_repair.evaluation.report.readings import MetricReading, Reading, find

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
    """One metric on its card."""

    label: str
    """Empty where the card has one row only."""
    base: Number | None
    """None where one model is measured alone."""
    repaired: Number
    change: Number | None
    """None where one model is measured alone."""
    interval: str
    """Of the change; of the value where there is none."""
    relative: str
    units: str
    """Over what: `60 prompts`; empty where there is no number."""
    missing: str
    """Why there is no number; empty when there is one."""
    is_better: bool | None
    """None when the interval holds no change, or there is none."""


@dataclass(frozen=True)
class Headline:
    """One of the three cards."""

    title: str
    explanation: str
    rows: tuple[HeadlineRow, ...]


def verdict_sentence(gate: JsonObject, verdict: str, metrics: Sequence[MetricReading], occasion: Occasion) -> str:
    """Returns the reason of the verdict in plain words."""
    criteria = objects_at(gate, "criteria")
    outcome = ", and ".join(
        clause for clause in (_toxicity_outcome(metrics, occasion), _perplexity_outcome(metrics, occasion)) if clause
    )
    if not criteria:
        asked = "There were no criteria to check" if verdict else "No criteria were given, so there is no verdict"
        return f"{asked}: {outcome}." if outcome else f"{asked}."
    failed, lacking = _failed(criteria, metrics)
    undecided = [item for item in criteria if text_at(item, "verdict") == "INCONCLUSIVE"]
    if verdict == "PASS":
        met = "The only criterion is met" if len(criteria) == 1 else f"All {len(criteria)} criteria are met"
        return f"{met}: {outcome}." if outcome else f"{met}."
    if verdict == "FAIL":
        parts = [f"{_some(failed, criteria)} not met: {_titles(failed)}"] if failed else []
        parts += [f"{_some(lacking, criteria)} without a value to check: {_titles(lacking)}"] if lacking else []
        sentence = f"{'; '.join(parts)}."
    else:
        sentence = f"Nothing failed, but {_some(undecided, criteria)} undecided: {_titles(undecided)}."
    return f"{sentence} {outcome[:1].upper()}{outcome[1:]}." if outcome else sentence


def _failed(
    criteria: Sequence[JsonObject], metrics: Sequence[MetricReading]
) -> tuple[list[JsonObject], list[JsonObject]]:
    """Returns the criteria that are not met, and those that fail because there is nothing to hold against them."""
    failed = [item for item in criteria if text_at(item, "verdict") == "FAIL"]
    lacking = [item for item in failed if text_at(item, "slice") != "EACH_GROUP" and _lacks_value(item, metrics)]
    return [item for item in failed if item not in lacking], lacking


def _lacks_value(criterion: JsonObject, metrics: Sequence[MetricReading]) -> bool:
    metric = find(metrics, text_at(criterion, "metric"))
    is_absolute = text_at(criterion, "rule", "type") == "AbsoluteRule"
    return metric is None or (metric.repaired if is_absolute else metric.change).value is None


def _some(some: Sequence[JsonObject], criteria: Sequence[JsonObject]) -> str:
    noun = "criterion" if len(criteria) == 1 else "criteria"
    return f"{len(some)} of {len(criteria)} {noun} {'is' if len(some) == 1 else 'are'}"


def _toxicity_outcome(metrics: Sequence[MetricReading], occasion: Occasion) -> str:
    metric = find(metrics, "toxicity.mean")
    if metric is None:
        return ""
    if not occasion.has_base:
        return (
            f"mean toxicity is {wording.written(metric, metric.repaired)}" if metric.repaired.value is not None else ""
        )
    if metric.change.value is None:
        return ""
    relative = metric.relative_change
    by = formats.percent(abs(relative)) if relative is not None else ""
    fell = metric.change.value < 0
    if not occasion.is_repair:
        if not metric.is_separated:
            return "mean toxicity does not clearly differ from that of the baseline"
        return f"mean toxicity is {by}{' ' if by else ''}{'lower' if fell else 'higher'} than that of the baseline"
    if not metric.is_separated:
        return "mean toxicity did not clearly change"
    return f"mean toxicity {'fell' if fell else 'rose'}{' by ' if by else ''}{by}"


def _perplexity_outcome(metrics: Sequence[MetricReading], occasion: Occasion) -> str:
    if not occasion.has_base:
        return ""
    measured = [metric for metric in token_perplexities(metrics) if metric.change.value is not None]
    ratios = [metric.change.value - 1 for metric in measured if metric.change.value is not None]
    if not ratios:
        return ""
    if max(abs(ratio) for ratio in ratios) < _INVISIBLE_RISE:
        return "perplexity did not change" if occasion.is_repair else "perplexity is the same"
    if not any(metric.is_separated for metric in measured):
        return "perplexity did not clearly change" if occasion.is_repair else "perplexity does not clearly differ"
    return _moved(min(ratios), max(ratios), occasion)


def _moved(low: float, high: float, occasion: Occasion) -> str:
    """Says in which direction perplexity went and by how much, over all corpora."""
    if low < 0 < high:
        ends = [formats.signed_percent(end, 1) for end in (low, high)]
        return f"perplexity {'changed' if occasion.is_repair else 'differs'} by {' to '.join(ends)}"
    # Written without signs: the verb has the direction.
    ends = sorted((abs(low), abs(high)))
    span = " to ".join(dict.fromkeys(formats.percent(end, 1) for end in ends))
    if occasion.is_repair:
        return f"perplexity {'rose' if high > 0 else 'fell'} by {span}"
    return f"perplexity is {span} {'higher' if high > 0 else 'lower'}"


def headlines(metrics: Sequence[MetricReading], gate: JsonObject, occasion: Occasion) -> tuple[Headline, ...]:
    """Returns the cards: mean toxicity, what else matters most, perplexity by corpus."""
    cards = [_card(metrics, metric, occasion) for metric in ("toxicity.mean", _what_else_matters(metrics, gate))]
    rows = tuple(
        _row(item, wording.subject_title(parse(item.id).subject), occasion) for item in token_perplexities(metrics)
    )
    explanation = "How surprised the model is by ordinary text."
    explanation += " A rise is the price of the repair." if occasion.is_repair else ""
    cards.append(Headline("Perplexity", explanation, rows))
    return tuple(cards)


def _what_else_matters(metrics: Sequence[MetricReading], gate: JsonObject) -> str:
    """Returns the criterion that stands most in the way, other than on the two cards beside it; else toxic prompts."""
    for verdict in ("FAIL", "INCONCLUSIVE"):
        for item in objects_at(gate, "criteria"):
            metric = text_at(item, "metric")
            if text_at(item, "verdict") == verdict and not _has_a_card(metric) and find(metrics, metric):
                return metric
    return "toxicity.probability"


def _has_a_card(metric: str) -> bool:
    return metric == "toxicity.mean" or parse(metric).family is Family.PERPLEXITY


def _titles(criteria: Sequence[JsonObject]) -> str:
    titles = (
        wording.in_sentence(text_at(item, "metric"))
        + (" in each group" if text_at(item, "slice") == "EACH_GROUP" else "")
        for item in criteria
    )
    return ", ".join(dict.fromkeys(titles))


def _card(metrics: Sequence[MetricReading], metric: str, occasion: Occasion) -> Headline:
    known = wording.wording(metric)
    found = find(metrics, metric)
    return Headline(known.title, known.explanation, (_row(found, "", occasion),) if found else ())


def _row(metric: MetricReading, label: str, occasion: Occasion) -> HeadlineRow:
    if not occasion.has_base:
        return _value_row(metric, label)
    relative = metric.relative_change
    shows_relative = relative is not None and metric.no_change == 0.0
    return HeadlineRow(
        label=label,
        base=_number(metric, metric.base, "base"),
        repaired=_number(metric, metric.repaired, "repaired"),
        change=Number(wording.written_change(metric), metric.change.value, f"{metric.id}/change"),
        interval=wording.written_interval(metric, metric.change, change=True),
        relative=_relative(relative) if relative is not None and shows_relative else _zero_base(metric),
        units=_units(metric, metric.change),
        missing=in_words(metric.change.reason) if metric.change.value is None else "",
        is_better=metric.is_better,
    )


def _value_row(metric: MetricReading, label: str) -> HeadlineRow:
    return HeadlineRow(
        label=label,
        base=None,
        repaired=_number(metric, metric.repaired, "repaired"),
        change=None,
        interval=wording.written_interval(metric, metric.repaired),
        relative="",
        units=_units(metric, metric.repaired),
        missing=in_words(metric.repaired.reason) if metric.repaired.value is None else "",
        is_better=None,
    )


_UNITS = {Family.PERPLEXITY: "document", Family.CLOZE: "text", Family.BIAS: "pair"}


def _units(metric: MetricReading, reading: Reading) -> str:
    unit = _UNITS.get(parse(metric.id).family, "prompt")
    # Number and unit stay on one line.
    return formats.count_of(reading.n, unit).replace(" ", "\u00a0") if reading.value is not None else ""


def _relative(relative: float) -> str:
    return formats.signed_percent(relative, 0)


def _zero_base(metric: MetricReading) -> str:
    """Says why there is no relative change where the base value is zero; of a ratio nothing, which is one itself."""
    return "no relative change from zero" if metric.no_change == 0.0 and metric.base.value == 0 else ""


def _number(metric: MetricReading, reading: Reading, side: str) -> Number:
    return Number(wording.written(metric, reading), reading.value, f"{metric.id}/{side}")
