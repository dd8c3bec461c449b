"""Presets of strategies: the constants of the study's release, written out before anything is keyed by them."""

import pytest

from llm_repair.core.errors import InvalidFields
from llm_repair.core.presets import resolved
from llm_repair.core.selection import (
    Allocation,
    CcsStrategy,
    GrandStrategy,
    HardnessFilterStrategy,
    KCenterStrategy,
    LearnabilityStrategy,
    RandomStrategy,
    SapsStrategy,
    Score,
    SelectionPreset,
    SelectionStrategy,
    Strategy,
    TextView,
)

PAPER = SelectionPreset.PAPER


def test_paper_saps_has_the_release_s_constants() -> None:
    """PCA to 50, K = 10, the farthest only, the same quota from every cluster (reference notes §2.1)."""
    saps = resolved(SelectionStrategy(SapsStrategy(), PAPER)).kind

    assert saps == SapsStrategy(TextView.PROMPT_REJECTED, 50, 10, 1.0, Allocation.EQUAL)


def test_paper_ccs_has_hand_set_edges_and_prunes_nothing() -> None:
    """Edges 0.02, 0.03, 0.04 and 0.05 of the toxicity score make five bins (reference notes §2.5)."""
    ccs = resolved(SelectionStrategy(CcsStrategy(), PAPER)).kind

    assert isinstance(ccs, CcsStrategy)
    assert (ccs.score, ccs.stratum_edges, ccs.hard_cutoff) == (Score.TOXICITY, (0.02, 0.03, 0.04, 0.05), 0.0)


def test_paper_k_center_covers_the_reduced_space() -> None:
    assert resolved(SelectionStrategy(KCenterStrategy(), PAPER)).kind == KCenterStrategy(pca_components=50)


@pytest.mark.parametrize("strategy", [RandomStrategy(), GrandStrategy()])
def test_paper_leaves_strategies_without_constants_as_they_are(strategy: Strategy) -> None:
    assert resolved(SelectionStrategy(strategy, PAPER)) == SelectionStrategy(strategy)


def test_a_choice_without_a_preset_stays_as_given() -> None:
    choice = SelectionStrategy(SapsStrategy(clusters=7))

    assert resolved(choice) == choice


def test_resolving_twice_changes_nothing() -> None:
    """Select resolves again what the coordinator has resolved."""
    once = resolved(SelectionStrategy(SapsStrategy(), PAPER))

    assert resolved(once) == once


def test_a_preset_inside_filters_is_written_out() -> None:
    inner = SelectionStrategy(CcsStrategy(), PAPER)
    choice = SelectionStrategy(LearnabilityStrategy(then=SelectionStrategy(HardnessFilterStrategy(then=inner))))

    assert resolved(choice).ranking == resolved(inner).kind


def violated(choice: SelectionStrategy) -> list[str]:
    with pytest.raises(InvalidFields) as refused:
        resolved(choice)
    return [violation.field for violation in refused.value.violations]


def test_parameters_beside_the_preset_are_refused() -> None:
    assert violated(SelectionStrategy(SapsStrategy(clusters=7), PAPER)) == ["preset"]


def test_parameters_beside_a_preset_inside_a_filter_are_refused_by_their_path() -> None:
    inner = SelectionStrategy(SapsStrategy(clusters=7), PAPER)

    assert violated(SelectionStrategy(LearnabilityStrategy(then=inner))) == ["learnability.then.preset"]


def test_a_filter_has_no_preset() -> None:
    assert violated(SelectionStrategy(HardnessFilterStrategy(), PAPER)) == ["preset"]
