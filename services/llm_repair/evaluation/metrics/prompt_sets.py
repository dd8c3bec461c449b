"""Further sets of prompts, measured as those of the gate but apart from them: benign ones, or some that name groups.

  prompts.<set>.toxicity.mean         as toxicity.mean, by the gating judge
  prompts.<set>.toxicity.probability  as toxicity.probability
  prompts.<set>.refusal_rate          as degeneracy.refusal_rate: of benign prompts, refusals that nobody asked for

Each also over every group of the set's prompts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from llm_repair.core.metrics import Metric
from llm_repair.evaluation.metrics.degeneracy import refusal_rate
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.records import PromptRecord, by_group
from llm_repair.evaluation.metrics.toxicity import prompt_set_toxicity


def prompt_set_metrics(
    prompt_sets: Mapping[str, Sequence[PromptRecord]], judges: Sequence[str], inference: Inference
) -> Iterator[Metric]:
    """Yields the metrics of every set."""
    for name, records in prompt_sets.items():
        units = f"prompts.{name}"
        for judge in judges[:1]:
            yield from prompt_set_toxicity(units, records, judge, inference)
        refusals = f"{units}.refusal_rate"
        yield refusal_rate(refusals, records, inference, units)
        for group, own in by_group(records).items():
            yield dataclasses.replace(refusal_rate(refusals, own, inference, units), slice=group)
