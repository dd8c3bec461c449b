"""What a search costs: shared features once, in an order that makes what is shared first."""

import pytest
from simulated_search import CCS, GRAND, K_CENTER, SAPS, a_search

from llm_repair.core.errors import InvalidFields
from llm_repair.core.search import FULL, RANDOM, Arm, Feature, Search, Split, Trial, features_of, shared_first
from llm_repair.core.selection import (
    AutoSearch,
    CcsStrategy,
    HardnessFilterStrategy,
    KCenterStrategy,
    LearnabilityStrategy,
    LossStrategy,
    SapsStrategy,
    Score,
    SelectionStrategy,
    TextView,
)


def trial(strategy: SelectionStrategy, fraction: float, prompts: int = 100, split: Split = Split.SELECTION) -> Trial:
    return Trial(Arm(strategy, fraction), 0, split, prompts)


def test_strategies_on_one_view_share_its_embeddings_and_those_on_another_do_not() -> None:
    prompt_only = SelectionStrategy(SapsStrategy(text_view=TextView.PROMPT))

    assert features_of(SAPS) == features_of(K_CENTER) == (Feature(TextView.PROMPT_REJECTED),)
    assert features_of(prompt_only) == (Feature(TextView.PROMPT),)
    assert features_of(RANDOM) == features_of(FULL.strategy) == ()


def test_a_score_is_shared_by_all_that_go_by_it_unless_its_settings_differ() -> None:
    forgetting, longer = (SelectionStrategy(CcsStrategy(Score.FORGETTING, dynamics_epochs=epochs)) for epochs in (4, 8))

    assert features_of(CCS) == features_of(SelectionStrategy(LossStrategy())) == (Feature(Score.LOSS),)
    assert features_of(forgetting) != features_of(longer)
    # A score of the model as it is does not depend on the passes of a training run.
    assert features_of(SelectionStrategy(CcsStrategy(dynamics_epochs=8))) == features_of(CCS)


def test_filters_add_their_own_features_to_those_of_the_ranking() -> None:
    filtered = SelectionStrategy(LearnabilityStrategy(then=SelectionStrategy(HardnessFilterStrategy(then=K_CENTER))))

    assert set(features_of(filtered)) == {
        Feature(Score.FAILURE_RATE, (8, 20, 0.5)),
        Feature(Score.INSTANCE_HARDNESS),
        Feature(TextView.CHOSEN),
        Feature(TextView.REJECTED),
        Feature(TextView.PROMPT_REJECTED),
    }


def test_thresholds_of_a_filter_need_no_features_of_their_own() -> None:
    strict, lenient = (SelectionStrategy(LearnabilityStrategy(low=low)) for low in (0.05, 0.3))

    assert features_of(strict) == features_of(lenient)


def test_features_are_billed_once_however_many_arms_read_them() -> None:
    """Three arms on one view: 60 + 3 rankings of 1 + 300 (0.1 + 0.2 + 0.1) + 3 (100 prompts at 0.5, corpora 9)."""
    costs = a_search((SAPS, K_CENTER)).costs

    bill = costs.bill([trial(SAPS, 0.1), trial(SAPS, 0.2), trial(K_CENTER, 0.1)])

    assert (bill.features_s, bill.selection_s, bill.evaluation_s) == (60.0, 3.0, 177.0)
    assert bill.repair_s == pytest.approx(120.0)
    assert bill.total_s == pytest.approx(360.0)


def test_a_later_round_bills_no_second_repair_and_only_the_prompts_that_are_new() -> None:
    """One arm at 100, then at 300 prompts, then at 50 of the other split: 300 + 50 prompts, corpora of two splits."""
    costs = a_search((SAPS,)).costs

    bill = costs.bill([trial(SAPS, 0.1), trial(SAPS, 0.1, 300), trial(SAPS, 0.1, 50, Split.REPORT)])

    assert bill.repair_s == pytest.approx(30.0)
    assert bill.evaluation_s == pytest.approx(0.5 * 350 + 2 * 9)


def test_an_arm_alone_pays_for_its_features_in_full() -> None:
    costs = a_search((SAPS, K_CENTER)).costs

    assert costs.alone_s(Arm(SAPS, 0.2)) == pytest.approx(60 + 1 + 60)
    assert costs.alone_s(Arm(RANDOM, 0.2)) == pytest.approx(1 + 60)


def test_controls_run_first_and_then_what_the_most_trials_share() -> None:
    trials = [trial(s, f) for s in (GRAND, SAPS, RANDOM, K_CENTER) for f in (0.1, 0.2)]

    order = [(each.arm.strategy, each.arm.fraction) for each in shared_first(trials)]

    assert order == [(s, f) for s in (RANDOM, SAPS, K_CENTER, GRAND) for f in (0.1, 0.2)]


def test_costs_that_lack_a_feature_or_a_ranking_are_refused_by_name() -> None:
    costs = a_search((SAPS,)).costs

    with pytest.raises(InvalidFields) as refused:
        Search(AutoSearch((SAPS, GRAND)), costs, selection_prompts=0, report_prompts=10)

    assert [violation.field for violation in refused.value.violations] == [
        "selection_prompts",
        "costs.select_s",
        "costs.feature_s",
    ]
    assert "GRAND" in refused.value.message


def test_a_k_center_of_other_dimensions_shares_the_embeddings_but_not_the_ranking() -> None:
    narrow = SelectionStrategy(KCenterStrategy(pca_components=10))
    costs = a_search((K_CENTER, narrow)).costs

    bill = costs.bill([trial(K_CENTER, 0.1), trial(narrow, 0.1)])

    assert (bill.features_s, bill.selection_s) == (60.0, 2.0)
