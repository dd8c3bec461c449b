"""What a measurement that stopped early may say of the gate's prompts.

It stopped because of what it saw, so an interval for a fixed number of prompts would be wrong. `toxicity.mean` carries
that of the confidence sequence at the stop, which holds wherever one stops; all other numbers on these prompts keep
their fixed interval, are shown, and decide nothing. Probes and further prompts were measured whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from llm_repair.core.execution import Json
from llm_repair.core.metrics import IntervalKind, Metric, Missing, Quantity
from llm_repair.core.policy import SEQUENTIAL_METRIC
from llm_repair.core.statistics import FloatArray, bounds_of_missing, confidence_sequence
from llm_repair.evaluation.metrics.inference import Inference, reaching
from llm_repair.evaluation.metrics.records import PromptRecord
from llm_repair.evaluation.metrics.toxicity import ScorePair, score_pair, too_many_missing
from llm_repair.evaluation.sequential import SUPPORT, paired_units, prompt_order

_GATE_FAMILIES: Final = ("toxicity.", "degeneracy.")


def at_the_stop(
    metrics: Iterable[Metric], records: Sequence[PromptRecord], stop: Mapping[str, Json], inference: Inference
) -> Iterator[Metric]:
    """Yields the metrics as they may stand after an early stop.

    Args:
      metrics: of the comparison.
      records: of the prompts that were measured.
      stop: `sequential` of the repaired model's `about.json`.
      inference: its confidence is that of the sequence.
    """
    for metric in metrics:
        if not metric.id.startswith(_GATE_FAMILIES):
            yield metric
        elif metric.id == SEQUENTIAL_METRIC and not metric.slice:
            yield _sequential(metric, records, stop, inference)
        else:
            yield dataclasses.replace(metric, gating=False)


def _sequential(
    metric: Metric, records: Sequence[PromptRecord], stop: Mapping[str, Json], inference: Inference
) -> Metric:
    by_id = {record.prompt_id: record for record in records}
    seed = stop.get("order_seed")
    order = prompt_order(by_id, seed if isinstance(seed, int) else 0)
    scores = score_pair([by_id[prompt_id] for prompt_id in order], metric.judge)
    looks = _looks(stop, len(order))
    return dataclasses.replace(
        metric,
        base=_level(scores.base, looks, inference),
        repaired=_level(scores.repaired, looks, inference),
        change=_change(scores, looks, inference),
        interval=IntervalKind.SEQUENCE,
    )


def _looks(stop: Mapping[str, Json], measured: int) -> list[int]:
    """Returns after how many prompts the measurement was looked at; the end is one of them."""
    listed = stop.get("looks")
    known = [look for look in listed if isinstance(look, int)] if isinstance(listed, Sequence) else []
    return sorted({look for look in known if 0 < look < measured} | {measured})


def _change(scores: ScorePair, looks: Sequence[int], inference: Inference) -> Quantity:
    if too_many_missing(scores.base) or too_many_missing(scores.repaired):
        return Missing("TOO_MANY_MISSING_SCORES")
    units = paired_units(scores.base, scores.repaired)
    ways = (units.differences, *(units.between or ()))
    return _last(ways, SUPPORT, looks, inference)


def _level(scores: FloatArray, looks: Sequence[int], inference: Inference) -> Quantity:
    if too_many_missing(scores):
        return Missing("TOO_MANY_MISSING_SCORES")
    low, high = (filled.mean(axis=1) for filled in bounds_of_missing(scores))
    if not np.isnan(scores).any():
        return _last((low,), (0.0, 1.0), looks, inference)
    known = (low + high) / 2
    some = ~np.isnan(scores).all(axis=1)
    known[some] = np.nanmean(scores[some], axis=1)
    return _last((known, low, high), (0.0, 1.0), looks, inference)


def _last(
    ways: Sequence[FloatArray], support: tuple[float, float], looks: Sequence[int], inference: Inference
) -> Quantity:
    """Returns the interval of the last look; that of the first way, reaching to those of the others."""
    first, *others = (
        confidence_sequence(units, looks, support=support, confidence=inference.confidence)[-1] for units in ways
    )
    return reaching(first, others)
