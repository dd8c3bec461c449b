"""Degeneracy guards from records, with values worked out by hand."""

from __future__ import annotations

import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.degeneracy import degeneracy_metrics
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.outputs import Outputs
from llm_repair.evaluation.metrics.records import PromptRecord

INFERENCE = Inference(protocol="strict.v1", confidence=0.95, seed=1, replicates=500)


def outputs(tokens: tuple[int, ...], empty: int = 0, bigrams: int = 8, distinct: int = 8) -> Outputs:
    """One word more than pairs, two fewer triples than words; as many of each are different as asked for of pairs."""
    ngrams = (bigrams + 1, bigrams, max(bigrams - 1, 0))
    return Outputs({}, tokens, empty, ngrams=ngrams, distinct_ngrams=(distinct + 1, distinct, max(distinct - 1, 0)))


def measure(pairs: list[tuple[Outputs, Outputs]], max_new_tokens: int | None = 20) -> dict[str, Metric]:
    rows = [PromptRecord(f"p{i}", before, after, {}) for i, (before, after) in enumerate(pairs)]
    return {metric.id: metric for metric in degeneracy_metrics(rows, INFERENCE, max_new_tokens=max_new_tokens)}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


PAIRS = [
    (outputs((20, 20), 0, 10, 10), outputs((20, 0), 1, 5, 5)),
    (outputs((20, 10), 0, 8, 6), outputs((20, 10), 0, 8, 4)),
    (outputs((0, 20), 1, 2, 2), outputs((10, 20), 0, 7, 5)),
]


def test_values_are_means_over_prompts_and_a_ratio_of_counts() -> None:
    """Empty: 0 0 .5 -> 1/6 on both sides. Tokens: 20 15 10 -> 15; 10 15 15 -> 40/3. Bigrams 18/20; 14/20."""
    got = measure(PAIRS)

    assert estimate(got["degeneracy.empty_rate"].base).value == pytest.approx(1 / 6)
    assert estimate(got["degeneracy.empty_rate"].change).value == pytest.approx(0.0)
    assert estimate(got["degeneracy.mean_tokens"].base).value == pytest.approx(15.0)
    assert estimate(got["degeneracy.mean_tokens"].change).value == pytest.approx(40 / 3 - 15)
    assert estimate(got["degeneracy.distinct_2"].base).value == pytest.approx(0.9)
    assert estimate(got["degeneracy.distinct_2"].change).value == pytest.approx(0.7 - 0.9)
    # Words: 21 of 23 and 17 of 23; triples: 15 of 17 and 11 of 17.
    assert estimate(got["degeneracy.distinct_1"].change).value == pytest.approx(-4 / 23)
    assert estimate(got["degeneracy.distinct_3"].base).value == pytest.approx(15 / 17)
    assert estimate(got["degeneracy.distinct_3"].change).value == pytest.approx(-4 / 17)


def test_repetition_and_refusals_are_means_over_prompts() -> None:
    """Repetition .2 and .4 before, 0 and .3 after; refusals 0 and 1 of 2 before, 2 and 1 of 2 after."""
    before = [Outputs({}, (9, 9), repetition=0.2), Outputs({}, (9, 9), repetition=0.4, refusals=1)]
    after = [Outputs({}, (9, 9), refusals=2), Outputs({}, (9, 9), repetition=0.3, refusals=1)]

    got = measure(list(zip(before, after, strict=True)))

    assert estimate(got["degeneracy.repetition_rate"].base).value == pytest.approx(0.3)
    assert estimate(got["degeneracy.repetition_rate"].change).value == pytest.approx(-0.15)
    assert estimate(got["degeneracy.refusal_rate"].base).value == pytest.approx(0.25)
    assert estimate(got["degeneracy.refusal_rate"].change).value == pytest.approx(0.5)


def test_fewer_empties_and_longer_more_varied_outputs_are_better() -> None:
    got = measure(PAIRS)

    assert got["degeneracy.empty_rate"].direction is Direction.LOWER_IS_BETTER
    assert got["degeneracy.mean_tokens"].direction is Direction.HIGHER_IS_BETTER
    assert {got[f"degeneracy.distinct_{n}"].direction for n in (1, 2, 3)} == {Direction.HIGHER_IS_BETTER}
    assert got["degeneracy.repetition_rate"].direction is Direction.LOWER_IS_BETTER
    assert got["degeneracy.refusal_rate"].direction is Direction.LOWER_IS_BETTER
    assert {metric.change_kind for metric in got.values()} == {ChangeKind.DIFFERENCE}


def test_no_empty_output_at_all_is_bounded_and_not_certain() -> None:
    """1 - 0.025^(1/191) = 0.0191 for 191 prompts, on both sides of no change."""
    got = measure([(outputs((20,)), outputs((20,)))] * 191)["degeneracy.empty_rate"]

    assert (estimate(got.base).low, estimate(got.base).high) == pytest.approx((0, 0.0191), abs=5e-5)
    assert (estimate(got.change).low, estimate(got.change).high) == pytest.approx((-0.0191, 0.0191), abs=5e-5)


def test_equal_lengths_are_bounded_by_the_protocol_or_missing() -> None:
    same = [(outputs((20, 20)), outputs((20, 20)))] * 50

    known, unknown = measure(same)["degeneracy.mean_tokens"], measure(same, None)["degeneracy.mean_tokens"]

    assert estimate(known.base).value == estimate(known.base).high == 20
    assert estimate(known.base).low < 20
    assert unknown.base == Missing("NO_VARIATION")


def test_outputs_without_bigrams_leave_distinct_2_undefined() -> None:
    silent = Outputs({}, (0, 0), empty=2)

    got = measure([(PAIRS[0][0], silent), (PAIRS[1][0], silent)])

    assert got["degeneracy.distinct_2"].repaired == Missing("UNDEFINED_IN_RESAMPLES")
    assert estimate(got["degeneracy.empty_rate"].repaired).value == 1.0
