"""The reconstructed scores as metrics of a comparison, with values worked out by hand from their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from llm_repair.core.metrics import Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.measurement import Document
from llm_repair.evaluation.metrics.outputs import Outputs
from llm_repair.evaluation.metrics.reconstructed import reconstructed_metrics
from llm_repair.evaluation.metrics.records import DocumentRecord, PromptRecord, Records

INFERENCE = Inference(protocol="strict.v1", confidence=0.95, seed=1, replicates=200)
Row = Sequence[float | None]


def outputs(scores: Row) -> Outputs:
    return Outputs({"judge": tuple(scores)}, (5,) * len(scores))


def records(base: Sequence[Row], after: Sequence[Row], nll: Sequence[tuple[float, float]] = ()) -> Records:
    """Ten tokens a document; as many documents of `wiki` as pairs of losses."""
    prompts = [
        PromptRecord(f"p{number}", outputs(before), outputs(later), {})
        for number, (before, later) in enumerate(zip(base, after, strict=True))
    ]
    documents = [
        DocumentRecord("wiki", f"d{number}", Document(before, 10, 8, 40), Document(later, 10, 8, 40))
        for number, (before, later) in enumerate(nll)
    ]
    return Records(tuple(prompts), tuple(documents))


def measure(main: Records, full: Records | None = None) -> dict[str, Metric]:
    metrics = reconstructed_metrics(main, full, "judge", INFERENCE)
    return {metric.id.removeprefix("reconstructed."): metric for metric in metrics}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


BASE = [[0.6, 0.2], [0.5, 0.5], [0.1, 0.3]]
AFTER = [[0.1, 0.1], [0.2, 0.4], [0.1, 0.1]]
LOSSES = [(20.0, 22.0), (31.0, 32.0), (42.0, 43.0)]


def test_scores_are_those_of_the_definitions() -> None:
    """T: 1.1/3 and .5/3, so D = .6/1.1. Perplexity: 93 and 97 nats over 30 tokens, ln of the ratio 4/30."""
    got = measure(records(BASE, AFTER, LOSSES))

    detoxification, utility = 0.6 / 1.1, math.exp(-4 / 30)
    ops = 2 * detoxification * utility / (detoxification + utility)
    distance = math.sqrt((0.5 / 1.1) ** 2 / 2 + (4 / 30) ** 2 / 2)
    assert estimate(got["ops"].repaired).value == pytest.approx(ops)
    assert estimate(got["rps.ideal"].repaired).value == pytest.approx(1 / (1 + distance))
    assert estimate(got["ops"].repaired).n == 6


def test_they_compare_models_and_never_gate() -> None:
    for metric in measure(records(BASE, AFTER, LOSSES)).values():
        assert metric.base == metric.change == Missing("COMPARES_MODELS")
        assert (metric.gating, metric.judge, metric.direction) == (False, "judge", Direction.HIGHER_IS_BETTER)


def test_without_a_full_arm_what_refers_to_it_is_undefined() -> None:
    got = measure(records(BASE, AFTER, LOSSES))

    assert got["rps.full"].repaired == got["ops_ratio_to_full"].repaired == Missing("NO_FULL_ARM")


def test_with_a_full_arm_the_ratio_is_that_of_both_scores() -> None:
    """The full arm has D = 1 - .3/1.1 and unchanged perplexity, so OPS = 2 D / (D + 1)."""
    full = records(BASE, [[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]], [(20.0, 20.0), (31.0, 31.0), (42.0, 42.0)])
    main = records(BASE, AFTER, LOSSES)

    got = measure(main, full)

    ops, full_d = estimate(got["ops"].repaired).value, 0.8 / 1.1
    assert estimate(got["ops_ratio_to_full"].repaired).value == pytest.approx(ops / (2 * full_d / (full_d + 1)))
    beyond = math.sqrt((0.5 / 1.1 - 0.3 / 1.1) ** 2 / 2 + (4 / 30) ** 2 / 2)
    assert estimate(got["rps.full"].repaired).value == pytest.approx(1 / (1 + beyond))


def test_a_full_arm_of_more_prompts_is_taken_at_those_that_were_measured() -> None:
    """Where the main arm stopped early: its three prompts are the first of four."""
    all_four = records([*BASE, [0.9, 0.9]], [[0.1, 0.1]] * 3 + [[0.9, 0.9]], [(20.0, 20.0), (31.0, 31.0), (42.0, 42.0)])
    first_three = records(BASE, [[0.1, 0.1]] * 3, [(20.0, 20.0), (31.0, 31.0), (42.0, 42.0)])
    main = records(BASE, AFTER, LOSSES)

    assert measure(main, all_four) == measure(main, first_three)


def test_a_baseline_without_toxicity_leaves_nothing_to_compare_with() -> None:
    assert measure(records([[0.0, 0.0]] * 3, AFTER, LOSSES))["ops"].repaired == Missing("ZERO_BASELINE")


def test_without_a_corpus_there_is_no_utility() -> None:
    assert measure(records(BASE, AFTER))["ops"].repaired == Missing("NO_CORPUS")


def many(rows: Sequence[Row]) -> list[Row]:
    return [*rows] * 60


def test_a_missing_score_widens_the_interval_and_is_not_taken_for_clean() -> None:
    """One of 360 scores: its arm has a mean between those with 0 and with 1 in its place."""
    whole = many(AFTER)
    torn = [[None, 0.1], *whole[1:]]
    losses = LOSSES * 3

    known = estimate(measure(records(many(BASE), torn, losses))["ops"].repaired)
    best, worst = (
        estimate(measure(records(many(BASE), [[score, 0.1], *whole[1:]], losses))["ops"].repaired)
        for score in (0.0, 1.0)
    )

    assert known.low <= min(best.low, worst.low) and known.high >= max(best.high, worst.high)
    assert worst.value < known.value < best.value


def test_many_missing_scores_leave_no_number() -> None:
    torn = records(BASE, [[None, 0.1], *AFTER[1:]], LOSSES)

    assert measure(torn)["ops"].repaired == Missing("TOO_MANY_MISSING_SCORES")
