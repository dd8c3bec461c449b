"""What metrics, reasons and steps are called in plain words, and how each metric is written."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from llm_repair.core.metrics import ChangeKind
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.readings import MetricReading, Reading


class Unit(enum.Enum):
    """How a value is written."""

    SCORE = 3
    SHARE = 0
    NUMBER = 2

    def write(self, value: float) -> str:
        """Returns the value for people."""
        return formats.percent(value, 1) if self is Unit.SHARE else formats.decimal(value, self.value)

    def write_change(self, value: float) -> str:
        """Returns a difference; of shares, in percentage points."""
        if self is Unit.SHARE:
            return f"{formats.signed(value * 100, 1)}{formats.NARROW_SPACE}points"
        return formats.signed(value, self.value)


@dataclass(frozen=True)
class Wording:
    """Title and explanation of a metric."""

    title: str
    explanation: str
    unit: Unit


_WORDINGS = {
    "toxicity.mean": Wording(
        "Mean toxicity", "Average judge score over all outputs, from 0 (clean) to 1 (toxic).", Unit.SCORE
    ),
    "toxicity.probability": Wording(
        "Prompts with a toxic output", "Share of prompts with at least one output scored 0.5 or more.", Unit.SHARE
    ),
    "toxicity.expected_max": Wording(
        "Worst output per prompt", "Average over prompts of the highest score among the outputs.", Unit.SCORE
    ),
    "degeneracy.empty_rate": Wording("Empty outputs", "Share of outputs that are blank.", Unit.SHARE),
    "degeneracy.mean_tokens": Wording("Length of outputs", "Mean number of tokens.", Unit.NUMBER),
    "degeneracy.distinct_2": Wording(
        "Variety of word pairs", "Different word pairs as a share of all, within the outputs to a prompt.", Unit.SCORE
    ),
}

_UNITS = {"token": "Perplexity", "word": "Perplexity per word", "bits_per_byte": "Bits per byte"}
_EXPLAINED = {
    "token": "Per token of this model.",
    "word": "The same measurement per word, comparable between tokenizers.",
    "bits_per_byte": "The same measurement per byte of text, comparable between tokenizers and languages.",
}

_CORPORA = {"wikitext2": "WikiText-2", "boolq": "BoolQ", "lambada": "LAMBADA", "xsum": "XSum"}

_REASONS = {
    "NOT_MEASURED": "not measured",
    "ZERO_BASELINE": "undefined, because the base value is zero",
    "NO_FULL_ARM": "needs an arm trained on the whole pool",
    "TOO_MANY_MISSING_SCORES": "too many outputs without a judge score",
    "NO_DATA": "no data",
    "NO_PROMPT_SCORES": "the prompts themselves were not scored",
    "NO_VARIATION": "no interval, because all values are equal",
    "NOT_FINITE": "not a finite number",
    "TOO_FEW_UNITS": "too few prompts or documents",
    "UNDEFINED_IN_RESAMPLES": "undefined in some resamples",
}


def wording(metric: str) -> Wording:
    """Returns the wording of a metric id; unknown ids are spelt out."""
    family, _, rest = metric.partition(".")
    suffix = rest.rpartition(".")[2]
    if family == "perplexity":
        corpus, _, unit = rest.partition(".")
        return Wording(
            f"{_UNITS.get(unit, _spelt(unit))} on {corpus_title(corpus)}", _EXPLAINED.get(unit, ""), Unit.NUMBER
        )
    known = _WORDINGS.get(f"{family}.{suffix}")
    if known is None:
        return Wording(_spelt(metric).capitalize(), "", _unit(metric))
    part = slice_name(metric)
    return Wording(f"{known.title}, {part}", known.explanation, known.unit) if part else known


def slice_name(metric: str) -> str:
    """Returns the part of the data a metric is restricted to; nothing for all of it."""
    return "prompts without swear words" if ".nonprofane." in metric else ""


def in_sentence(metric: str) -> str:
    """Returns the title of a metric as it is written within a sentence."""
    title = wording(metric).title
    return title[:1].lower() + title[1:]


def corpus_title(corpus: str) -> str:
    """Returns the usual spelling of a corpus name."""
    return _CORPORA.get(corpus, corpus.replace("_", " "))


def reason(code: str) -> str:
    """Returns the reason of a missing value in plain words."""
    return _REASONS.get(code, code.replace("_", " ").lower())


def written(metric: MetricReading, reading: Reading) -> str:
    """Returns a value before or after."""
    return formats.NO_VALUE if reading.value is None else wording(metric.id).unit.write(reading.value)


def written_change(metric: MetricReading) -> str:
    """Returns the change: a ratio as percent, a difference in the unit of the metric."""
    return formats.NO_VALUE if metric.change.value is None else _change(metric, metric.change.value)


def written_interval(metric: MetricReading, reading: Reading, *, change: bool = False) -> str:
    """Returns `[low, high]`; nothing where there is no interval."""
    if reading.low is None or reading.high is None:
        return ""
    low, high = (
        (_change(metric, end) if change else written_value(metric, end)) for end in (reading.low, reading.high)
    )
    # The unit stands beside the value already; three times on one line is noise.
    bare = [re.sub(rf"{formats.NARROW_SPACE}(%|points)$", "", end) for end in (low, high)]
    return f"[{bare[0]}, {bare[1]}]"


def written_value(metric: MetricReading, value: float) -> str:
    """Returns a value in the unit of the metric."""
    return wording(metric.id).unit.write(value)


def _change(metric: MetricReading, value: float) -> str:
    if metric.change_kind is ChangeKind.RATIO:
        return formats.signed_percent(value - 1.0)
    return wording(metric.id).unit.write_change(value)


def _spelt(metric: str) -> str:
    return metric.replace(".", ", ").replace("_", " ")


def _unit(metric: str) -> Unit:
    shares = ("rate", "empty", "share", "probability", "missing", "repetition", "accuracy", "refusal", "blank")
    if any(word in metric for word in shares):
        return Unit.SHARE
    return Unit.SCORE if "distinct" in metric or "score" in metric else Unit.NUMBER
