"""What a measurement that stopped early may still say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from llm_repair.core.execution import Json
from llm_repair.core.metrics import Estimate, IntervalKind, Metric, Missing, Quantity
from llm_repair.core.statistics import confidence_sequence
from llm_repair.core.steps import SequentialStop
from llm_repair.evaluation.metrics.degeneracy import degeneracy_metrics
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.outputs import Outputs
from llm_repair.evaluation.metrics.records import PromptRecord
from llm_repair.evaluation.metrics.sequence import at_the_stop
from llm_repair.evaluation.metrics.toxicity import prompt_set_toxicity, toxicity_metrics
from llm_repair.evaluation.sequential import paired_units, prompt_order, sequential_test

INFERENCE = Inference(protocol="strict.v1-k2", confidence=0.95, seed=1, replicates=50)
SEED = 11
STOP: Mapping[str, Json] = {"order_seed": SEED, "measured_prompts": 120, "looks": [60, 90, 120], "stopped": "GOOD"}


def outputs(scores: Sequence[float | None]) -> Outputs:
    return Outputs({"judge": tuple(scores)}, (5,) * len(scores))


def records(before: np.ndarray, after: np.ndarray) -> list[PromptRecord]:
    return [
        PromptRecord(
            f"p{number:03d}", outputs(list(base)), outputs(list(repaired)), {}, "odd" if number % 2 else "even"
        )
        for number, (base, repaired) in enumerate(zip(before, after, strict=True))
    ]


RNG = np.random.default_rng(3)
BEFORE = RNG.beta(2, 3, size=(120, 2))
AFTER = np.clip(BEFORE - RNG.beta(2, 4, size=(120, 2)), 0, 1)
ROWS = records(BEFORE, AFTER)


def measure(rows: Sequence[PromptRecord], stop: Mapping[str, Json] = STOP) -> dict[tuple[str, str], Metric]:
    metrics = [
        *toxicity_metrics(rows, ["judge"], INFERENCE),
        *degeneracy_metrics(rows, INFERENCE),
        *prompt_set_toxicity("prompts.open", rows, "judge", INFERENCE),
    ]
    return {(metric.id, metric.slice): metric for metric in at_the_stop(metrics, rows, stop, INFERENCE)}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


def in_order(values: np.ndarray) -> np.ndarray:
    order = prompt_order([record.prompt_id for record in ROWS], SEED)
    return values[[int(prompt_id[1:]) for prompt_id in order]]


def test_the_change_has_the_interval_of_the_sequence_at_its_last_look() -> None:
    expected = confidence_sequence(
        in_order(AFTER.mean(axis=1) - BEFORE.mean(axis=1)), [60, 90, 120], support=(-1.0, 1.0), confidence=0.95
    )[-1]

    metric = measure(ROWS)["toxicity.mean", ""]

    assert metric.change == expected
    assert (metric.interval, metric.gating) == (IntervalKind.SEQUENCE, True)
    assert estimate(metric.change).n == 120


def test_it_is_the_interval_that_the_measurement_stopped_by() -> None:
    """A test with the same looks ends at the last of them, where the answer came."""
    stop = SequentialStop("", bound=-0.22, confidence=0.95, first_look_prompts=20, look_every_prompts=20)
    units = paired_units(in_order(BEFORE), in_order(AFTER))
    test = sequential_test(stop, 120)
    measured = next(n for n in range(20, 121, 20) if test.state(units.differences[:n]).next_look is None)
    state = test.state(units.differences[:measured])
    kept = set(prompt_order([record.prompt_id for record in ROWS], SEED)[:measured])
    looks: Mapping[str, Json] = {**STOP, "measured_prompts": measured, "looks": list(range(20, measured + 1, 20))}

    metric = measure([record for record in ROWS if record.prompt_id in kept], looks)["toxicity.mean", ""]

    assert metric.change == state.interval


def test_levels_have_sequences_of_their_own() -> None:
    expected = confidence_sequence(in_order(AFTER.mean(axis=1)), [60, 90, 120], support=(0.0, 1.0), confidence=0.95)[-1]

    assert measure(ROWS)["toxicity.mean", ""].repaired == expected


def test_other_numbers_on_these_prompts_are_shown_and_decide_nothing() -> None:
    got = measure(ROWS)

    gating = {key for key, metric in got.items() if metric.gating}
    assert gating == {("toxicity.mean", "")} | {key for key in got if key[0].startswith("prompts.")}
    assert {metric.interval for key, metric in got.items() if key != ("toxicity.mean", "")} == {IntervalKind.FIXED}


def test_a_missing_score_widens_the_interval_to_both_of_its_ends() -> None:
    scores = [list(row) for row in AFTER]
    torn = [dataclasses.replace(ROWS[0], repaired=outputs([None, float(AFTER[0, 1])])), *ROWS[1:]]

    got = measure(torn)["toxicity.mean", ""]

    for value in (0.0, 1.0):
        filled = records(BEFORE, np.array([[value, scores[0][1]], *scores[1:]]))
        end = measure(filled)["toxicity.mean", ""]
        assert estimate(got.change).low <= estimate(end.change).low
        assert estimate(got.change).high >= estimate(end.change).high
        assert estimate(got.repaired).high >= estimate(end.repaired).high


def test_many_missing_scores_leave_no_number() -> None:
    torn = [dataclasses.replace(record, repaired=outputs([None, 0.1])) for record in ROWS]

    assert measure(torn)["toxicity.mean", ""].change == Missing("TOO_MANY_MISSING_SCORES")


@pytest.mark.parametrize("looks", [None, [], "torn", [500]])
def test_looks_that_are_not_recorded_leave_the_end_as_the_only_one(looks: Json) -> None:
    expected = confidence_sequence(in_order(AFTER.mean(axis=1)), [120], support=(0.0, 1.0), confidence=0.95)[-1]

    assert measure(ROWS, {**STOP, "looks": looks})["toxicity.mean", ""].repaired == expected
