"""What metrics and reasons are called in plain words, and how each metric is written."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from llm_repair.core.metrics import ChangeKind
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.metric_names import Family, MetricName, parse
from llm_repair.evaluation.report.readings import MetricReading, Reading


class Unit(enum.Enum):
    """How a value is written."""

    SCORE = "score"
    SHARE = "share"
    NUMBER = "number"

    def write(self, value: float) -> str:
        """Returns the value for people."""
        match self:
            case Unit.SHARE:
                return formats.percent(value, 1)
            case Unit.SCORE:
                return formats.decimal(value, 3)
            case Unit.NUMBER:
                return formats.number(value)

    def write_change(self, value: float) -> str:
        """Returns a difference; of shares, in percentage points."""
        match self:
            case Unit.SHARE:
                return f"{formats.signed(value * 100, 1)}{formats.NARROW_SPACE}points"
            case Unit.SCORE:
                return formats.signed(value, 3)
            case Unit.NUMBER:
                return formats.signed(value, 2)


@dataclass(frozen=True)
class Wording:
    """Title and explanation of a metric."""

    title: str
    explanation: str = ""
    unit: Unit = Unit.NUMBER


_REPETITION = "Share of outputs that say the same few words over and over."
_REFUSAL = "Share of outputs that begin as a refusal does."
_TOXICITY = {
    "mean": Wording("Mean toxicity", "Average judge score over all outputs, from 0 (clean) to 1 (toxic).", Unit.SCORE),
    "probability": Wording(
        "Prompts with a toxic output", "Share of prompts with at least one output scored 0.5 or more.", Unit.SHARE
    ),
    "expected_max": Wording(
        "Worst output per prompt", "Average over prompts of the highest score among the outputs.", Unit.SCORE
    ),
}
_DEGENERACY = {
    "empty_rate": Wording("Empty outputs", "Share of outputs that are blank.", Unit.SHARE),
    "mean_tokens": Wording("Length of outputs", "Mean number of tokens."),
    "distinct_1": Wording(
        "Variety of words", "Different words as a share of all, within the outputs to a prompt.", Unit.SCORE
    ),
    "distinct_2": Wording(
        "Variety of word pairs", "Different word pairs as a share of all, within the outputs to a prompt.", Unit.SCORE
    ),
    "distinct_3": Wording(
        "Variety of word triples", "Different word triples as a share of all, within the outputs to a prompt.",
        Unit.SCORE,
    ),
    "repetition_rate": Wording("Repetitive outputs", _REPETITION, Unit.SHARE),
    "refusal_rate": Wording("Refusals", _REFUSAL, Unit.SHARE),
}  # fmt: skip
_PERPLEXITY = {
    "token": Wording("Perplexity on {}", "Per token of this model."),
    "word": Wording("Perplexity per word on {}", "The same measurement per word, comparable between tokenizers."),
    "bits_per_byte": Wording(
        "Bits per byte on {}",
        "The same measurement per byte of text, comparable between tokenizers and languages.",
        Unit.SCORE,
    ),
}
_CLOZE = {
    "accuracy": Wording(
        "Last words guessed, {}", "Share of texts whose last word the model finds likeliest.", Unit.SHARE
    ),
    "perplexity": Wording("Perplexity of last words, {}", "How surprised the model is by the last word of a text."),
}
_BIAS = {
    "preference": Wording(
        "Stereotype preferred, {}",
        "Share of sentence pairs in which the more stereotyping sentence is the likelier one. Even is 50 %.",
        Unit.SHARE,
    ),
    "imbalance": Wording("Distance from even, {}", "How far that share is from 50 %, in either direction.", Unit.SHARE),
    "log_ratio": Wording(
        "Distance within pairs, {}",
        "Mean distance between the log-likelihoods of the two sentences of a pair, in nats.",
    ),
}
_PROMPT_SETS = {
    "refusal_rate": Wording("Refusals, {}", _REFUSAL, Unit.SHARE),
    "toxicity.mean": Wording("Mean toxicity, {}", _TOXICITY["mean"].explanation, Unit.SCORE),
    "toxicity.probability": Wording(
        "Prompts with a toxic output, {}", _TOXICITY["probability"].explanation, Unit.SHARE
    ),
}
_RECONSTRUCTED = {
    "ops": Wording("OPS (reconstructed)", "Harmonic mean of detoxification and kept utility, from 0 to 1.", Unit.SCORE),
    "rps.ideal": Wording(
        "RPS to the ideal (reconstructed)",
        "Closeness to no toxicity at unchanged perplexity; 1 is there.",
        Unit.SCORE,
    ),
    "rps.full": Wording(
        "RPS to full data (reconstructed)",
        "Closeness to the model repaired on the whole pool; 1 meets or beats it.",
        Unit.SCORE,
    ),
    "ops_ratio_to_full": Wording(
        "OPS as a share of that on full data (reconstructed)", "Above 1 beats the whole pool.", Unit.SCORE
    ),
    "res": Wording(
        "RES (reconstructed)",
        "That share, times how much faster selecting and repairing were than repairing on the whole pool.",
        Unit.NUMBER,
    ),
    "res_without_checkpoints": Wording(
        "RES without checkpoints (reconstructed)", "The same, without the time of writing checkpoints.", Unit.NUMBER
    ),
}
_KNOWN = {
    Family.TOXICITY: _TOXICITY,
    Family.DEGENERACY: _DEGENERACY,
    Family.PERPLEXITY: _PERPLEXITY,
    Family.CLOZE: _CLOZE,
    Family.BIAS: _BIAS,
    Family.PROMPT_SET: _PROMPT_SETS,
    Family.RECONSTRUCTED: _RECONSTRUCTED,
}

_TITLES = {
    "wikitext2": "WikiText-2",
    "boolq": "BoolQ",
    "lambada": "LAMBADA",
    "xsum": "XSum",
    "crows_pairs": "CrowS-Pairs",
    "bold": "BOLD",
    "stereoset": "StereoSet",
}


def wording(metric: str) -> Wording:
    """Returns the wording of a metric id; unknown ids are spelt out."""
    name = parse(metric)
    if name.family is Family.ATTRIBUTE:
        explanation = "Mean over prompts of the probability that the gating judge gives to this label."
        return Wording(_spelt(name.subject).capitalize(), explanation, Unit.SCORE)
    known = _KNOWN.get(name.family, {}).get(name.measure)
    if known is None:
        return Wording(_spelt(metric).capitalize(), unit=_unit(metric))
    title = known.title.format(subject_title(name.subject))
    part = slice_name(name)
    return Wording(f"{title}, {part}" if part else title, known.explanation, known.unit)


def slice_name(name: MetricName) -> str:
    """Returns the part of the prompts a metric is restricted to; nothing for all of them."""
    return "prompts without swear words" if name.is_nonprofane else ""


def in_sentence(metric: str) -> str:
    """Returns the title of a metric as it is written within a sentence."""
    title = wording(metric).title
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def subject_title(subject: str) -> str:
    """Returns the usual spelling of the name of a corpus or a set."""
    return _TITLES.get(subject, subject.replace("_", " "))


def written(metric: MetricReading, reading: Reading) -> str:
    """Returns a value before or after."""
    return formats.NO_VALUE if reading.value is None else written_value(metric, reading.value)


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
