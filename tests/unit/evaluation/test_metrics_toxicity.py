"""Toxicity metrics from records, with values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.records import Outputs, PromptRecord
from llm_repair.evaluation.metrics.toxicity import toxicity_metrics

INFERENCE = Inference(protocol="strict.v1-k2", confidence=0.95, seed=1, replicates=500)
Row = Sequence[float | None]


def outputs(scores: dict[str, Row]) -> Outputs:
    draws = len(next(iter(scores.values())))
    return Outputs({judge: tuple(row) for judge, row in scores.items()}, (5,) * draws, 0, 4, 4)


def two_judges(detoxify: float, profanity: float) -> Outputs:
    return outputs({"detoxify": [detoxify], "profanity": [profanity]})


def records(base: Sequence[Row], repaired: Sequence[Row], *, own: Sequence[float | None] = ()) -> list[PromptRecord]:
    own = own or [0.1] * len(base)
    return [
        PromptRecord(f"p{i:03}", outputs({"profanity": before}), outputs({"profanity": after}), {"profanity": score})
        for i, (before, after, score) in enumerate(zip(base, repaired, own, strict=True))
    ]


def measure(rows: Sequence[PromptRecord], judges: Sequence[str] = ("profanity",)) -> dict[str, Metric]:
    return {metric.id: metric for metric in toxicity_metrics(rows, judges, INFERENCE)}


def estimate(quantity: Quantity) -> Estimate:
    assert isinstance(quantity, Estimate)
    return quantity


BASE = [[0.9, 0.1], [0.2, 0.4], [0.6, 0.6], [0.0, 0.0]]
REPAIRED = [[0.3, 0.1], [0.2, 0.2], [0.6, 0.0], [0.0, 0.2]]


def test_values_are_the_definitions_over_prompts() -> None:
    """Base: means .5 .3 .6 0 -> .35; maxima .9 .4 .6 0 -> .475; toxic 2 of 4.

    Repaired: means .2 .2 .3 .1 -> .2; maxima .3 .2 .6 .2 -> .325; toxic 1 of 4.
    """
    got = measure(records(BASE, REPAIRED))

    assert [estimate(got["toxicity.mean"].base).value, estimate(got["toxicity.mean"].repaired).value] == (
        pytest.approx([0.35, 0.2])
    )
    assert estimate(got["toxicity.mean"].change).value == pytest.approx(-0.15)
    assert estimate(got["toxicity.expected_max"].base).value == pytest.approx(0.475)
    assert estimate(got["toxicity.expected_max"].change).value == pytest.approx(-0.15)
    assert estimate(got["toxicity.probability"].base).value == 0.5
    assert estimate(got["toxicity.probability"].repaired).value == 0.25
    assert estimate(got["toxicity.probability"].change).value == -0.25
    assert all(estimate(metric.change).n == 4 for metric in got.values())


def test_metrics_say_what_they_are() -> None:
    metric = measure(records(BASE, REPAIRED))["toxicity.mean"]

    assert (metric.protocol, metric.judge, metric.gating) == ("strict.v1-k2", "profanity", True)
    assert (metric.change_kind, metric.direction) == (ChangeKind.DIFFERENCE, Direction.LOWER_IS_BETTER)


def test_only_the_first_judge_gates_and_others_carry_their_name() -> None:
    rows = [
        PromptRecord(prompt, two_judges(*before), two_judges(*after), {})
        for prompt, before, after in (("a", (0.1, 0.9), (0.2, 0.8)), ("b", (0.3, 0.7), (0.1, 0.2)))
    ]

    got = measure(rows, ["detoxify", "profanity"])

    assert {name for name, metric in got.items() if metric.gating} == {
        "toxicity.mean",
        "toxicity.probability",
        "toxicity.expected_max",
        "toxicity.nonprofane.mean",
    }
    assert {name for name, metric in got.items() if not metric.gating} == {
        "toxicity.profanity.mean",
        "toxicity.profanity.probability",
        "toxicity.profanity.expected_max",
        "toxicity.profanity.nonprofane.mean",
    }
    assert estimate(got["toxicity.mean"].base).value == pytest.approx(0.2)
    assert estimate(got["toxicity.profanity.mean"].base).value == pytest.approx(0.8)


def test_probability_is_exact_and_never_certain() -> None:
    """No toxic prompt of 4: Clopper-Pearson upper end 1 - 0.025^(1/4) = 0.6024."""
    got = measure(records([[0.1, 0.2]] * 4, [[0.0, 0.1]] * 4))["toxicity.probability"]

    assert estimate(got.repaired).high == pytest.approx(0.6024, abs=5e-5)
    assert estimate(got.change).low < 0 < estimate(got.change).high


def test_nonprofane_slice_is_of_prompts_and_equal_on_both_sides() -> None:
    """Prompts 1, 2 and 4 are below 0.5: base (.5 + .3 + 0)/3, repaired (.2 + .2 + .1)/3; 0.5 itself is profane."""
    got = measure(records(BASE, REPAIRED, own=[0.1, 0.49, 0.5, 0.2]))["toxicity.nonprofane.mean"]

    assert estimate(got.base).value == pytest.approx(0.8 / 3)
    assert estimate(got.change).value == pytest.approx(-0.1)
    assert estimate(got.base).n == 3


def test_slice_without_prompt_scores_or_without_prompts_is_missing() -> None:
    unscored = measure(records(BASE, REPAIRED, own=[None] * 4))["toxicity.nonprofane.mean"]
    empty = measure(records(BASE, REPAIRED, own=[0.9] * 4))["toxicity.nonprofane.mean"]

    assert (unscored.base, unscored.repaired, unscored.change) == (Missing("NO_PROMPT_SCORES"),) * 3
    assert (empty.base, empty.repaired, empty.change) == (Missing("NO_DATA"),) * 3


def test_no_slice_without_a_profanity_judge() -> None:
    rows = [PromptRecord("a", outputs({"detoxify": [0.1]}), outputs({"detoxify": [0.2]}), {})] * 2

    assert not any("nonprofane" in name for name in measure(rows, ["detoxify"]))


def hundred(missing_base: int = 0, missing_repaired: int = 0) -> list[PromptRecord]:
    """100 prompts of 2 draws; so many prompts lack one score on a side."""
    rng = np.random.default_rng(5)
    base, repaired = (rng.random((100, 2)) * scale for scale in (0.6, 0.4))
    return records(
        [[None, row[1]] if i < missing_base else list(row) for i, row in enumerate(base)],
        [[None, row[1]] if i < missing_repaired else list(row) for i, row in enumerate(repaired)],
    )


def test_missing_scores_widen_the_interval_to_both_bounds() -> None:
    """2 of 200 repaired scores are missing (1 %): as 0 and as 1 they move the mean by up to 2 / 200."""
    whole, holed = measure(hundred())["toxicity.mean"], measure(hundred(missing_repaired=2))["toxicity.mean"]

    change, holed_change = estimate(whole.change), estimate(holed.change)
    assert holed_change.low < change.low
    assert holed_change.high > change.high
    assert 0.002 < (holed_change.high - holed_change.low) - (change.high - change.low) < 0.03
    assert holed.base == whole.base
    assert holed_change.n == 100


def test_missing_in_the_base_widens_the_change_the_other_way_round() -> None:
    """A missing base score as 0 is the worst case for the repair: the upper end rises by about 1 / 200 each."""
    whole, holed = measure(hundred())["toxicity.mean"], measure(hundred(missing_base=2))["toxicity.mean"]

    assert estimate(holed.change).high > estimate(whole.change).high
    assert holed.repaired == whole.repaired


def test_missing_on_both_sides_is_bounded_by_the_worst_and_the_best_case() -> None:
    """The interval must hold those of the change with (base, repaired) filled as (0, 1) and as (1, 0)."""
    holed = hundred(missing_base=2, missing_repaired=2)

    def filled(before: float, after: float) -> Estimate:
        rows = [
            PromptRecord(
                row.prompt_id,
                outputs({"profanity": [before if s is None else s for s in row.base.scores["profanity"]]}),
                outputs({"profanity": [after if s is None else s for s in row.repaired.scores["profanity"]]}),
                row.prompt_scores,
            )
            for row in holed
        ]
        return estimate(measure(rows)["toxicity.mean"].change)

    got = estimate(measure(holed)["toxicity.mean"].change)

    assert (got.low, got.high) == (filled(1.0, 0.0).low, filled(0.0, 1.0).high)


def test_over_one_percent_missing_leaves_no_number() -> None:
    got = measure(hundred(missing_repaired=3))

    for name in ("toxicity.mean", "toxicity.probability", "toxicity.expected_max"):
        assert isinstance(got[name].base, Estimate)
        assert got[name].repaired == got[name].change == Missing("TOO_MANY_MISSING_SCORES")


def test_a_judge_that_fails_on_the_toxic_outputs_does_not_make_the_model_look_better() -> None:
    """One prompt in 100 is toxic and exactly its score is missing: the interval still holds the truth."""
    truth = [[0.0, 0.0]] * 99 + [[1.0, 1.0]]
    judged: list[Row] = [[0.0, 0.0]] * 99 + [[None, 1.0]]

    whole = estimate(measure(records(truth, truth))["toxicity.mean"].repaired)
    holed = estimate(measure(records(truth, judged))["toxicity.mean"].repaired)

    assert holed.low <= whole.value <= holed.high
    assert holed.high >= whole.high


def test_a_prompt_without_any_score_is_bounded_too() -> None:
    rows = hundred()
    blank = PromptRecord("z", outputs({"profanity": [None, None]}), outputs({"profanity": [0.1, 0.1]}), {})

    got = measure([*rows, blank])["toxicity.probability"]

    assert estimate(got.base).n == 101
    assert estimate(got.base).value == pytest.approx(estimate(measure(rows)["toxicity.probability"].base).value)
