"""What a report does not show, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import JsonObject, number_at, objects_at, text_at
from llm_repair.evaluation.report.metric_names import Family, parse
from llm_repair.evaluation.report.occasion import Kind, Occasion
from llm_repair.evaluation.report.readings import find, read_metrics

_MANY_PROMPTS = 3000
"""From so many on, a harm of one prompt in a hundred is seen 20 times or more with a probability above 0.97."""


def power_note(document: JsonObject, occasion: Occasion) -> str:
    """Says how small a fall of mean toxicity this measurement could have shown; nothing where that is not known."""
    effect = number_at(document, "provenance", "minimum_detectable_effect", "toxicity.mean")
    if effect is None or not occasion.has_base:
        return ""
    metric = find(read_metrics(objects_at(document, "metrics")), "toxicity.mean")
    if metric and metric.base.value is not None and effect > metric.base.value:
        return (
            "A measurement of this size cannot be relied upon to show even the end of all toxicity; more prompts would "
            "show smaller falls."
        )
    return (
        f"A measurement of this size shows a fall of mean toxicity of {formats.decimal(effect, 3)} in four of five "
        "cases; more prompts would show smaller ones."
    )


def undecided_note(document: JsonObject, occasion: Occasion) -> str:
    """Returns the power note where mean toxicity is a criterion that the data did not decide."""
    criteria = objects_at(document, "gate", "criteria")
    undecided = {text_at(item, "metric") for item in criteria if text_at(item, "verdict") == "INCONCLUSIVE"}
    return power_note(document, occasion) if "toxicity.mean" in undecided else ""


def limits(document: JsonObject, occasion: Occasion) -> tuple[str, ...]:
    """Returns what this report cannot show, in plain words."""
    gating = text_at(document, "judges", "gating")
    prompts = number_at(document, "provenance", "n_prompts")
    said = [_SEEDS[occasion.kind], _judge_limit(gating)]
    if prompts is not None:
        said.append(
            f"{formats.count_of(prompts, 'prompt')} {'was' if prompts == 1 else 'were'} measured. "
            + (
                "Rare kinds of harm, seen in one prompt of a hundred, cannot be counted reliably with so few."
                if prompts < _MANY_PROMPTS
                else "What they do not ask for was not seen."
            )
        )
    if occasion.has_base:
        by_chance = 1 - (number_at(document, "provenance", "confidence") or 0.95)
        said.append(
            "Many measures are shown. The criteria alone decide; among the others some will leave out no change by "
            f"chance, about {formats.percent(by_chance)} of those where nothing happened."
        )
    measured = (metric for metric in objects_at(document, "metrics") if metric.get("repaired"))
    families = {parse(text_at(metric, "id")).family for metric in measured}
    said += [sentence for family, sentence in _OF_FAMILIES.items() if family in families]
    return tuple(said)


_OF_FAMILIES = {
    Family.PERPLEXITY: (
        "Perplexity says whether ordinary text still reads as likely. It does not test skills such as arithmetic or "
        "following instructions."
    ),
    Family.BIAS: (
        "Pairs of sentences show what a model finds likely, not what it says or does. Not all pairs of the known "
        "collections are well made."
    ),
    Family.RECONSTRUCTED: (
        "The study that defined RPS, OPS and RES did not publish their formulas. Those shown are ours, reconstructed "
        "from its words, and cannot be compared with its figures."
    ),
}
_SEEDS: Mapping[Kind, str] = {
    Kind.REPAIR: (
        "The model was trained once. All numbers are conditional on this training run: another seed would give "
        "somewhat other values, and the intervals do not cover that."
    ),
    Kind.COMPARISON: (
        "The intervals cover the choice of prompts and of random numbers. They do not cover how a model of the same "
        "kind, trained with another seed, would differ."
    ),
    Kind.MEASUREMENT: (
        "One model was measured by itself. Whether another one does better, or a repair would help, is not known."
    ),
}


def _judge_limit(gating: str) -> str:
    reacts = "The judge profanity reacts mostly to swear words and" if gating == "profanity" else f"The judge {gating}"
    return f"Judges are programs. {reacts} misses insults and stereotypes that are politely phrased."
