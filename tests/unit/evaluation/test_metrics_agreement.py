"""Two judges on the same outputs: counts by hand, correlations against scipy, and what cannot be said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import cohen_kappa_score

from llm_repair.core.metrics import Missing
from llm_repair.evaluation.metrics.agreement import Agreement, agreement, agreement_to_json


def test_verdicts_are_counted_at_one_half_and_outputs_without_a_score_are_not() -> None:
    """Pairs: both (0.5, 0.9), first alone (0.6, 0.4) and (1, 0), second alone (0.49, 0.5), neither (0, 0.1)."""
    found = agreement([0.5, 0.6, 1.0, 0.49, 0.0, None, 0.9], [0.9, 0.4, 0.0, 0.5, 0.1, 0.7, None])

    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 2, 1, 1)
    assert (found.n, found.unscored) == (5, 2)
    assert found.disagreement == 3 / 5


def test_correlations_equal_those_of_an_independent_implementation_with_and_without_ties() -> None:
    rng = np.random.default_rng(3)
    for digits in (8, 1):
        first = rng.random(60).round(digits)
        second = (0.6 * first + 0.4 * rng.random(60)).round(digits)

        found = agreement(list(first), list(second))

        assert found.pearson == pytest.approx(pearsonr(first, second)[0])
        assert found.spearman == pytest.approx(spearmanr(first, second)[0])
        assert found.kappa == pytest.approx(cohen_kappa_score(first >= 0.5, second >= 0.5))


def test_equal_scores_agree_wholly() -> None:
    scores = [0.1, 0.2, 0.7]

    found = agreement(scores, scores)

    assert (found.pearson, found.spearman) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (found.kappa, found.disagreement) == (1.0, 0.0)


@pytest.mark.parametrize("constant", [0.1, 0.3])
def test_a_judge_that_says_the_same_of_all_has_no_correlation(constant: float) -> None:
    """0.1 thrice has a mean that is not 0.1."""
    found = agreement([constant] * 3, [0.1, 0.2, 0.4])

    assert found.pearson == found.spearman == Missing("CONSTANT_SCORES")
    assert found.kappa == Missing("CONSTANT_VERDICTS")
    assert found.disagreement == 0.0


def test_without_outputs_nothing_is_said() -> None:
    found = agreement([None], [0.2])

    nothing = Missing("NO_DATA")
    assert found == Agreement(0, 0, 0, 0, unscored=1, pearson=nothing, spearman=nothing)
    assert found.disagreement == found.kappa == nothing


def test_one_output_has_a_verdict_but_no_correlation() -> None:
    document = agreement_to_json(agreement([0.9], [0.2]))

    assert document == {
        "n": 1, "both": 0, "only_first": 1, "only_second": 0, "neither": 0, "unscored": 0, "disagreement": 1.0,
        "kappa": 0.0, "pearson": None, "pearson_reason": "NO_DATA", "spearman": None, "spearman_reason": "NO_DATA",
    }  # fmt: skip
    json.dumps(document, allow_nan=False)


def test_scores_of_different_outputs_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        agreement([0.1], [0.1, 0.2])
