"""Toxicity metrics from records, with values worked out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Metric, Missing, Quantity
from llm_repair.evaluation.metrics.inference import Inference
from llm_repair.evaluation.metrics.outputs import Outputs
from llm_repair.evaluation.metrics.records import PromptRecord
from llm_repair.evaluation.metrics.toxicity import prompt_set_toxicity, toxicity_metrics

INFERENCE = Inference(protocol="strict.v1-k2", confidence=0.95, seed=1, replicates=500)
Row = Sequence[float | None]


def outputs(scores: dict[str, Row]) -> Outputs:
    draws = len(next(iter(scores.values())))
    return Outputs({judge: tuple(row) for judge, row in scores.items()}, (5,) * draws)


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


def test_the_slice_is_there_whoever_judges_the_outputs() -> None:
    rows = [
        PromptRecord(prompt, outputs({"detoxify": [before]}), outputs({"detoxify": [after]}), {"profanity": own})
        for prompt, before, after, own in (("a", 0.1, 0.2, 0.3), ("b", 0.3, 0.2, 0.4), ("c", 0.9, 0.1, 0.8))
    ]

    got = measure(rows, ["detoxify"])["toxicity.nonprofane.mean"]

    assert (got.judge, got.gating) == ("detoxify", True)
    assert estimate(got.base).value == pytest.approx(0.2)
    assert estimate(got.change).value == pytest.approx(0)


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


def grouped(groups: Sequence[str], base: Sequence[Row], repaired: Sequence[Row]) -> list[PromptRecord]:
    return [
        dataclasses.replace(record, group=group) for record, group in zip(records(base, repaired), groups, strict=True)
    ]


def by_slice(metrics: Iterable[Metric], metric: str) -> dict[str, Metric]:
    return {found.slice: found for found in metrics if found.id == metric}


def test_mean_and_probability_are_given_for_every_group_of_prompts() -> None:
    """Groups a (the first two) and b (the third): means .4 and .6 before, .2 and .3 after; toxic 1 of 2 and 1 of 1."""
    rows = grouped(["a", "a", "b", ""], BASE, REPAIRED)

    metrics = list(toxicity_metrics(rows, ["profanity"], INFERENCE))

    means, shares = by_slice(metrics, "toxicity.mean"), by_slice(metrics, "toxicity.probability")
    assert set(means) == set(shares) == {"", "a", "b"}
    assert set(by_slice(metrics, "toxicity.expected_max")) == {""}
    assert estimate(means[""].base).value == pytest.approx(0.35)
    assert estimate(means["a"].base).value == pytest.approx(0.4)
    assert estimate(means["a"].change).value == pytest.approx(-0.2)
    assert estimate(shares["b"].base).value == 1.0
    assert estimate(shares["a"].repaired).n == 2


def test_a_group_of_one_prompt_has_an_honest_interval_or_none() -> None:
    """Clopper-Pearson for 1 of 1 reaches down to 0.025; the mean of one prompt has no interval."""
    rows = grouped(["a", "a", "b", "b"], BASE, REPAIRED)[:3]

    metrics = list(toxicity_metrics(rows, ["profanity"], INFERENCE))

    assert by_slice(metrics, "toxicity.mean")["b"].change == Missing("TOO_FEW_UNITS")
    share = estimate(by_slice(metrics, "toxicity.probability")["b"].base)
    assert (share.low, share.high) == (pytest.approx(0.025), 1.0)


def test_groups_do_not_change_what_is_said_of_all_prompts() -> None:
    plain = measure(records(BASE, REPAIRED))["toxicity.mean"]
    with_groups = toxicity_metrics(grouped(["a", "a", "b", "b"], BASE, REPAIRED), ["profanity"], INFERENCE)

    assert by_slice(with_groups, "toxicity.mean")[""] == plain


def labelled(threat: Row, insult: Row) -> Outputs:
    return dataclasses.replace(
        outputs({"detoxify": [0.5, 0.5]}), labels={"threat": tuple(threat), "insult": tuple(insult)}
    )


def test_every_label_of_the_gating_judge_has_its_mean() -> None:
    """Threat: .2 and .4 before, .1 and .1 after. Insult: .5 and .7, then .5 and .9."""
    rows = [
        PromptRecord("a", labelled([0.1, 0.3], [0.5, 0.5]), labelled([0.1, 0.1], [0.5, 0.5]), {}),
        PromptRecord("b", labelled([0.4, 0.4], [0.7, 0.7]), labelled([0.1, 0.1], [0.9, 0.9]), {}),
    ]

    got = measure(rows, ["detoxify"])

    threat, insult = got["toxicity.attribute.threat"], got["toxicity.attribute.insult"]
    assert (estimate(threat.base).value, estimate(threat.change).value) == pytest.approx((0.3, -0.2))
    assert (estimate(insult.base).value, estimate(insult.change).value) == pytest.approx((0.6, 0.1))
    assert (threat.judge, threat.slice, threat.direction) == ("detoxify", "", Direction.LOWER_IS_BETTER)


def test_a_missing_probability_of_a_label_is_not_taken_for_none() -> None:
    rows = [PromptRecord("a", labelled([None, 0.3], [0.5, 0.5]), labelled([0.1, 0.1], [0.5, 0.5]), {})] * 3

    assert measure(rows, ["detoxify"])["toxicity.attribute.threat"].base == Missing("TOO_MANY_MISSING_SCORES")


def test_a_judge_with_one_label_has_no_attributes() -> None:
    assert not [name for name in measure(records(BASE, REPAIRED)) if "attribute" in name]


def test_a_further_set_of_prompts_has_its_own_mean_and_probability() -> None:
    metrics = list(
        prompt_set_toxicity("prompts.bold", grouped(["x", "x", "y", "y"], BASE, REPAIRED), "profanity", INFERENCE)
    )

    assert {metric.id for metric in metrics} == {"prompts.bold.toxicity.mean", "prompts.bold.toxicity.probability"}
    means = by_slice(metrics, "prompts.bold.toxicity.mean")
    assert {group: estimate(metric.base).value for group, metric in means.items()} == pytest.approx(
        {"": 0.35, "x": 0.4, "y": 0.3}
    )
    assert all(metric.gating and metric.judge == "profanity" for metric in metrics)


def test_no_prompts_have_no_numbers() -> None:
    got = measure([])

    assert got["toxicity.mean"].change == got["toxicity.probability"].base == Missing("NO_DATA")
