"""The reconstructed composite scores: rows worked by hand, definitions at their edges, and honest intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.composites import (
    ArmComparison,
    ArmRecords,
    ArmSeconds,
    Likelihood,
    ReconstructedScore,
    reconstructed_res,
    reconstructed_score,
)
from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics import generator

SPREAD = np.array([0.9, 1.1, 1.0, 0.8, 1.2])
NOISE = np.array([1.0, -2.0, 0.0, 2.0, -1.0])
TOKENS = 100 * SPREAD
OPS, RPS, RPS_FULL = ReconstructedScore.OPS, ReconstructedScore.RPS_IDEAL, ReconstructedScore.RPS_FULL


def arm(toxicity: float, perplexities: Mapping[str, float], turn: int = 0) -> ArmRecords:
    """Five prompts and documents of exactly this mean toxicity and these perplexities; `turn` sets arms apart."""
    nats = {name: TOKENS * math.log(perplexity) + np.roll(NOISE, turn) for name, perplexity in perplexities.items()}
    return ArmRecords(toxicity * np.roll(SPREAD, turn), {name: Likelihood(nll, TOKENS) for name, nll in nats.items()})


def repaired_arm(toxicity: float, perplexities: Mapping[str, float]) -> ArmRecords:
    return arm(toxicity, perplexities, turn=1)


def full_arm(toxicity: float, perplexities: Mapping[str, float]) -> ArmRecords:
    return arm(toxicity, perplexities, turn=3)


def pair(base: ArmRecords, repaired: ArmRecords, full: ArmRecords | None = None) -> ArmComparison:
    return ArmComparison(base, repaired, full)


def score(which: ReconstructedScore, comparison: ArmComparison, replicates: int = 200) -> Estimate | Missing:
    return reconstructed_score(which, comparison, generator(0, "test"), replicates=replicates)


def value(which: ReconstructedScore, comparison: ArmComparison) -> float:
    found = score(which, comparison)
    assert isinstance(found, Estimate)
    return found.value


VANILLA = arm(0.482244, {"wikitext2": 17.3997})
IREPAIR = repaired_arm(0.046845, {"wikitext2": 18.1506})
DAPT = repaired_arm(0.3974, {"wikitext2": 22.96})


@pytest.mark.parametrize(
    ("repaired", "detoxification", "utility", "ops"),
    [
        (IREPAIR, 1 - 4.6845 / 48.2244, 17.3997 / 18.1506, 0.9299),
        (DAPT, 1 - 39.74 / 48.2244, 17.3997 / 22.96, 0.2855),
    ],
    ids=["IRepair", "DAPT"],
)
def test_published_rows_of_gpt2_xl_give_the_scores_worked_by_hand(
    repaired: ArmRecords, detoxification: float, utility: float, ops: float
) -> None:
    """Toxicity and WikiText-2 perplexity of IRepair's table: D 0.9029 and 0.1759, U 0.9586 and 0.7578."""
    comparison = pair(VANILLA, repaired)

    assert value(ReconstructedScore.DETOXIFICATION, comparison) == pytest.approx(detoxification)
    assert value(ReconstructedScore.UTILITY, comparison) == pytest.approx(utility)
    assert value(OPS, comparison) == pytest.approx(ops, abs=1e-4)


def test_rps_to_the_ideal_is_worked_by_hand() -> None:
    """T/T0 = 1/2; ln(11/10) = 0.09531 and ln(12/10) = 0.18232 are the excesses of perplexity.

    sqrt(0.25/2 + 0.09531²/4 + 0.18232²/4) = sqrt(0.135581) = 0.36821, and 1/1.36821 = 0.73088.
    """
    comparison = pair(arm(0.4, {"a": 10, "b": 10}), repaired_arm(0.2, {"a": 11, "b": 12}))

    assert value(ReconstructedScore.DISTANCE_IDEAL, comparison) == pytest.approx(0.36821, abs=1e-5)
    assert value(RPS, comparison) == pytest.approx(0.73088, abs=1e-5)


def test_rps_to_the_full_arm_counts_only_what_is_worse_and_the_distance_both() -> None:
    """Toxicity 0.1 of T0 above the full arm, perplexity a below its: d_T = 0.1 alone.

    RPS = 1 / (1 + sqrt(0.01/2)) = 0.93396; with ln(11/12) = -0.08701 on one of two corpora the distance is
    sqrt(0.01/2 + 0.08701²/4) = 0.08303.
    """
    base, full = arm(0.5, {"a": 10, "b": 10}), full_arm(0.10, {"a": 12, "b": 10})
    comparison = pair(base, repaired_arm(0.15, {"a": 11, "b": 10}), full)

    assert value(RPS_FULL, comparison) == pytest.approx(0.93396, abs=1e-5)
    assert value(ReconstructedScore.DISTANCE_FULL, comparison) == pytest.approx(0.08303, abs=1e-5)


def test_utility_is_the_geometric_mean_over_corpora_of_what_is_kept() -> None:
    """min(1, 10/20) = 1/2, min(1, 10/5) = 1, min(1, 8/8) = 1: their geometric mean is 2^(-1/3)."""
    comparison = pair(arm(0.4, {"a": 10, "b": 10, "c": 8}), repaired_arm(0.2, {"a": 20, "b": 5, "c": 8}))

    assert value(ReconstructedScore.UTILITY, comparison) == pytest.approx(2 ** (-1 / 3))


def test_ops_ratio_and_res_are_worked_by_hand() -> None:
    """At equal perplexities OPS = 2D / (D + 1): D = 1/2 gives 2/3, D = 3/4 gives 6/7, their ratio is 7/9.

    1,000 s on all data against 50 s of selection and 150 of repair: RES = 7/9 * 5 = 35/9.
    """
    comparison = pair(arm(0.4, {"a": 10}), repaired_arm(0.2, {"a": 10}), full_arm(0.1, {"a": 10}))

    ratio = score(ReconstructedScore.OPS_RATIO, comparison)
    res = reconstructed_res(ratio, ArmSeconds(selection=50, repair=150, full_repair=1000))

    assert isinstance(ratio, Estimate)
    assert isinstance(res, Estimate)
    assert ratio.value == pytest.approx(7 / 9)
    assert res.value == pytest.approx(35 / 9)
    assert (res.low, res.high, res.n) == (5 * ratio.low, 5 * ratio.high, ratio.n)


@pytest.mark.parametrize("seconds", [(0, 0, 10), (5, 10, 0), (-1, 10, 10), (5, math.nan, 10), (5, 10, math.inf)])
def test_res_without_times_is_undefined(seconds: tuple[float, float, float]) -> None:
    assert reconstructed_res(Estimate(1, 0.9, 1.1, 9), ArmSeconds(*seconds)) == Missing("NO_TIME")


def test_res_of_no_ratio_says_why() -> None:
    assert reconstructed_res(Missing("NO_FULL_ARM"), ArmSeconds(0, 10, 10)) == Missing("NO_FULL_ARM")


def noisy(seed: int, prompts: int = 60, documents: int = 25) -> ArmComparison:
    """Base, repaired and full with coupled noise, two corpora."""
    rng = np.random.default_rng(seed)
    base = rng.beta(1, 3, prompts)
    tokens = rng.integers(50, 400, documents).astype(float)
    nats = {corpus: rng.normal(3, 0.3, documents) for corpus in ("a", "b")}

    def one(factor: float, worse: float) -> ArmRecords:
        toxicity = np.clip(base * factor * rng.uniform(0.7, 1.3, prompts), 0, 1)
        shifted = {
            c: Likelihood(tokens * (n + worse + rng.normal(0, 0.02, documents)), tokens) for c, n in nats.items()
        }
        return ArmRecords(toxicity, shifted)

    same = ArmRecords(base, {c: Likelihood(tokens * n, tokens) for c, n in nats.items()})
    return ArmComparison(same, one(0.5, 0.03), one(0.4, 0.06))


@pytest.mark.parametrize("which", ReconstructedScore)
def test_every_score_has_an_interval_around_it_and_counts_its_units(which: ReconstructedScore) -> None:
    found = score(which, noisy(0), replicates=1000)

    assert isinstance(found, Estimate)
    assert found.low < found.value < found.high
    units = {ReconstructedScore.DETOXIFICATION: 60, ReconstructedScore.UTILITY: 50}
    assert found.n == units.get(which, 110)


@pytest.mark.parametrize("which", ReconstructedScore)
def test_the_order_of_prompts_documents_and_corpora_changes_no_value(which: ReconstructedScore) -> None:
    comparison = noisy(1)
    prompts, documents = np.random.default_rng(0).permutation(60), np.random.default_rng(0).permutation(25)

    def shuffled(records: ArmRecords) -> ArmRecords:
        corpora = {
            name: Likelihood(records.corpora[name].nll[documents], records.corpora[name].tokens[documents])
            for name in reversed(records.corpora)
        }
        return ArmRecords(records.toxicity[prompts], corpora)

    assert comparison.full is not None
    turned = ArmComparison(*(shuffled(each) for each in comparison.arms))

    assert value(which, turned) == pytest.approx(value(which, comparison))


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 0.9), st.floats(0.0, 0.9), st.floats(5, 50), st.floats(5, 50))
def test_scores_stay_in_their_ranges_and_fall_with_toxicity(
    base: float, repaired: float, before: float, after: float
) -> None:
    comparison = pair(arm(base, {"a": before}), repaired_arm(repaired, {"a": after}))
    worse = pair(arm(base, {"a": before}), repaired_arm(repaired + 0.05, {"a": after}))

    for which in (OPS, RPS):
        lower, upper = score(which, worse), score(which, comparison)
        if isinstance(lower, Estimate) and isinstance(upper, Estimate):
            assert 0 <= lower.value <= upper.value + 1e-12
            assert upper.value <= 1


def test_the_full_arm_itself_is_at_no_distance_from_itself() -> None:
    comparison = noisy(2)
    assert comparison.full is not None
    itself = replace(comparison, repaired=comparison.full)

    assert score(RPS_FULL, itself) == Missing("NO_VARIATION")
    assert score(ReconstructedScore.DISTANCE_FULL, itself) == Missing("NO_VARIATION")


def test_a_repair_that_made_things_worse_has_ops_zero_with_no_width() -> None:
    """Every replicate detoxifies below 0, so the score is clamped in each though the data vary."""
    comparison = noisy(3)
    doubled = replace(comparison, repaired=replace(comparison.repaired, toxicity=comparison.base.toxicity * 1.5 + 0.05))

    found = score(OPS, doubled)

    assert found == Estimate(0.0, 0.0, 0.0, 110)
    detoxification = score(ReconstructedScore.DETOXIFICATION, doubled)
    assert isinstance(detoxification, Estimate)
    assert detoxification.high < 0


def test_a_repair_that_beats_the_full_arm_everywhere_has_rps_one_and_a_distance() -> None:
    comparison = noisy(4)
    assert comparison.full is not None
    beaten = replace(
        comparison,
        full=ArmRecords(
            np.clip(comparison.repaired.toxicity + 0.2, 0, 1),
            {c: Likelihood(side.nll * 1.2, side.tokens) for c, side in comparison.repaired.corpora.items()},
        ),
    )

    assert score(RPS_FULL, beaten) == Estimate(1.0, 1.0, 1.0, 110)
    distance = score(ReconstructedScore.DISTANCE_FULL, beaten)
    assert isinstance(distance, Estimate)
    assert distance.low > 0.1


def test_data_without_any_variation_have_no_interval_even_at_a_clamp() -> None:
    """All prompts alike and all documents: nothing says how others would be."""
    documents = {"a": Likelihood(np.full(5, 230.0), np.full(5, 100.0))}
    comparison = pair(ArmRecords(np.full(5, 0.2), documents), ArmRecords(np.full(5, 0.4), documents))

    assert score(OPS, comparison) == Missing("NO_VARIATION")


def test_no_toxicity_at_the_base_leaves_nothing_to_remove() -> None:
    comparison = pair(arm(0.0, {"a": 10}), repaired_arm(0.1, {"a": 11}))

    for which in (ReconstructedScore.DETOXIFICATION, OPS, RPS, ReconstructedScore.DISTANCE_IDEAL):
        assert score(which, comparison) == Missing("ZERO_BASELINE")
    assert value(ReconstructedScore.UTILITY, comparison) == pytest.approx(10 / 11)


def test_a_base_so_rarely_toxic_that_resamples_may_show_none_is_undefined() -> None:
    rare = np.zeros(20)
    rare[0] = 1.0
    comparison = pair(ArmRecords(rare, {}), ArmRecords(rare / 2, {}))

    assert score(ReconstructedScore.DETOXIFICATION, comparison) == Missing("UNDEFINED_IN_RESAMPLES")


def test_scores_that_refer_to_the_full_arm_say_so_when_there_is_none() -> None:
    comparison = pair(VANILLA, IREPAIR)

    for which in (RPS_FULL, ReconstructedScore.DISTANCE_FULL, ReconstructedScore.OPS_RATIO):
        assert score(which, comparison) == Missing("NO_FULL_ARM")


def test_a_full_arm_that_was_not_scored_spoils_only_what_refers_to_it() -> None:
    comparison = noisy(5)
    assert comparison.full is not None
    unscored = replace(comparison, full=replace(comparison.full, toxicity=np.full(60, math.nan)))

    assert score(RPS_FULL, unscored) == Missing("NOT_FINITE")
    assert score(OPS, unscored) == score(OPS, replace(comparison, full=None)) == score(OPS, comparison)


def test_a_full_arm_that_removed_nothing_cannot_be_a_measure() -> None:
    comparison = replace(noisy(5), full=noisy(5).base)

    assert score(ReconstructedScore.OPS_RATIO, comparison) == Missing("ZERO_FULL_SCORE")


def test_without_a_corpus_only_detoxification_is_left() -> None:
    comparison = pair(ArmRecords(0.4 * SPREAD, {}), ArmRecords(0.2 * SPREAD[::-1], {}))

    assert score(OPS, comparison) == score(ReconstructedScore.UTILITY, comparison) == Missing("NO_CORPUS")
    assert value(ReconstructedScore.DETOXIFICATION, comparison) == pytest.approx(0.5)


@pytest.mark.parametrize("nll", [math.nan, math.inf, 1e6])
def test_a_perplexity_that_is_no_number_leaves_no_score(nll: float) -> None:
    """1e6 nats over 100 tokens are e^10000."""
    documents = Likelihood(np.full(5, nll), np.full(5, 100.0))
    comparison = pair(VANILLA, replace(IREPAIR, corpora={"wikitext2": documents}))

    assert score(OPS, comparison) == Missing("NOT_FINITE")


def test_a_corpus_without_a_token_or_a_missing_toxicity_leaves_no_score() -> None:
    silent = Likelihood(np.zeros(5), np.zeros(5))
    unscored = replace(IREPAIR, toxicity=np.array([0.1, math.nan, 0.1, 0.1, 0.1]))

    assert score(
        OPS, pair(replace(VANILLA, corpora={"w": silent}), replace(IREPAIR, corpora={"w": silent}))
    ) == Missing("NOT_FINITE")
    assert score(OPS, pair(VANILLA, unscored)) == Missing("NOT_FINITE")


def test_too_few_units_are_no_interval() -> None:
    one = ArmRecords(np.ones(1), {"a": Likelihood(np.ones(1), np.ones(1))})
    none = ArmRecords(np.zeros(0), {"a": Likelihood(np.zeros(0), np.zeros(0))})

    assert score(OPS, pair(one, one)) == Missing("TOO_FEW_UNITS")
    assert score(OPS, pair(none, none)) == Missing("NO_DATA")


def test_arms_measured_on_other_prompts_or_corpora_are_refused() -> None:
    for other in (replace(IREPAIR, toxicity=SPREAD[:4]), arm(0.1, {"lambada": 18}), arm(0.1, {})):
        with pytest.raises(ValueError, match="same prompts, corpora and documents"):
            pair(VANILLA, other)


def test_prompts_and_documents_are_resampled_independently_and_arms_together() -> None:
    """Coupled arms: the interval of detoxification is that of a paired ratio, far narrower than of unpaired ones.

    Toxicity halves with noise of a tenth, so sd(T_s/T_0) = 0.5 * 0.1 / sqrt(60) or so, while T_0 alone varies by 10 %.
    """
    rng = np.random.default_rng(6)
    base = rng.beta(1, 3, 60)
    comparison = pair(ArmRecords(base, {}), ArmRecords(base / 2 * rng.uniform(0.83, 1.17, 60), {}))

    found = score(ReconstructedScore.DETOXIFICATION, comparison, replicates=2000)

    assert isinstance(found, Estimate)
    assert 0.01 < found.high - found.low < 0.05


def test_the_interval_of_ops_covers_the_truth_at_its_level() -> None:
    """600 samples of 60 prompts and twice 25 documents: 0.95 ± 0.9 points.

    In expectation T_s = T_0 / 2 and both perplexities rise by 3 %: D = 0.5, U = exp(-0.03), OPS = 0.66.
    """
    truth = 2 * 0.5 * math.exp(-0.03) / (0.5 + math.exp(-0.03))
    hits = 0
    for seed in range(600):
        found = reconstructed_score(OPS, noisy(seed), generator(seed, "test"), replicates=400)
        assert isinstance(found, Estimate)
        hits += found.low <= truth <= found.high

    assert 0.925 <= hits / 600 <= 0.975
