"""Takes metric ids apart, such as `toxicity.hatesonar.nonprofane.mean` or `prompts.benign.refusal_rate`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Family(enum.Enum):
    """What a metric is about; the place of the metric on the page goes by it."""

    TOXICITY = "toxicity"
    ATTRIBUTE = "attribute"
    """Toxicity by one label of the gating judge."""
    PROMPT_SET = "prompts"
    """Of further prompts, apart from those of the gate."""
    DEGENERACY = "degeneracy"
    PERPLEXITY = "perplexity"
    CLOZE = "cloze"
    BIAS = "bias"
    RECONSTRUCTED = "reconstructed"
    OTHER = "other"


@dataclass(frozen=True)
class MetricName:
    """A metric id in its parts."""

    family: Family
    measure: str
    """Such as `mean`, `token` or `refusal_rate`."""
    subject: str = ""
    """Corpus, set or label; empty where the family has only one."""
    is_nonprofane: bool = False
    """Whether it is over the prompts without swear words only."""


def parse(metric: str) -> MetricName:
    """Returns the parts of a metric id; one of an unknown family keeps its whole id as its measure."""
    family, *rest = metric.split(".")
    match family, rest:
        case "toxicity", ["attribute", label, *more]:
            return MetricName(Family.ATTRIBUTE, "mean", ".".join([label, *more]))
        case "toxicity", [*parts, measure]:
            return MetricName(Family.TOXICITY, measure, is_nonprofane="nonprofane" in parts)
        case "reconstructed", [_, *_]:
            return MetricName(Family.RECONSTRUCTED, ".".join(rest))
        case (("perplexity" | "cloze" | "bias" | "prompts"), [subject, *measure]) if measure:
            return MetricName(Family(family), ".".join(measure), subject)
        case "degeneracy", [measure]:
            return MetricName(Family.DEGENERACY, measure)
        case _:
            return MetricName(Family.OTHER, metric)
