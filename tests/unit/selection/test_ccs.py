"""CCS stage by stage, against the procedure of the paper written down on its own."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.errors import InvalidFields
from llm_repair.core.presets import resolved
from llm_repair.core.selection import CcsStrategy, Score, SelectionPreset, SelectionStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies import ccs
from llm_repair.selection.strategies.ccs import CcsSelection, prune, stratify

SCORES = st.lists(
    st.floats(-50, 50, allow_subnormal=False) | st.sampled_from([0.0, -0.0, 1.0, 2.0]), min_size=1, max_size=60
)


def features(scores: list[float] | np.ndarray) -> Features:
    return Features([f"row-{row:06}" for row in range(len(scores))], hardness=np.array(scores, dtype=np.float64))


def paper_strata(scores: list[float], hard_cutoff: float, count: int, *, hard_is_low: bool = False) -> list[int | None]:
    """Returns the stratum of each sample, None if pruned: the authors' loops, one comparison at a time.

    For a largest score above zero the range ends at 1.0001 times it, as theirs does.
    """
    hardness = [-score if hard_is_low else score for score in scores]
    hardest_first = sorted(range(len(scores)), key=lambda row: (-hardness[row], row))
    pruned = set(hardest_first[: int(hard_cutoff * len(scores) + 1e-9)])
    kept = [row for row in range(len(scores)) if row not in pruned]
    low, top = min(scores[row] for row in kept), max(scores[row] for row in kept)
    width = (top + 0.0001 * abs(top) - low) / count
    strata: list[int | None] = [None] * len(scores)
    for row in kept:
        # The first edge above the score ends its stratum; the last stratum holds what no edge is above of.
        ends = (number for number in range(count - 1) if scores[row] < low + width * (number + 1))
        strata[row] = 0 if low == top else next(ends, count - 1)
    return strata


def paper_counts(sizes: list[int], budget: int) -> list[int]:
    """The paper's allocation: strata from the smallest to the largest, min(size, floor(budget left / strata left))."""
    received = [0] * len(sizes)
    for visited, stratum in enumerate(sorted(range(len(sizes)), key=lambda number: sizes[number])):
        received[stratum] = min(sizes[stratum], budget // (len(sizes) - visited))
        budget -= received[stratum]
    return received


@settings(max_examples=150, deadline=None)
@given(
    scores=SCORES,
    cutoff=st.sampled_from([0.0, 0.1, 0.29, 0.5, 0.9]),
    count=st.sampled_from([1, 2, 3, 7, 50]),
    score=st.sampled_from([Score.LOSS, Score.AUM]),
)
def test_every_budget_takes_from_each_stratum_what_the_paper_s_procedure_takes(
    scores: list[float], cutoff: float, count: int, score: Score
) -> None:
    hardness = [-value for value in scores] if score.hard_is_low else scores
    strata = paper_strata(scores, cutoff, count, hard_is_low=score.hard_is_low)
    sizes = [strata.count(number) for number in range(count)]

    selection = CcsSelection(CcsStrategy(score=score, hard_cutoff=cutoff, strata=count))

    for budget in range(1, sum(sizes) + 1):
        rows = selection.rank(features(hardness), seed=3, places=budget).rows[:budget]
        taken = [strata[row] for row in rows.tolist()]
        assert [taken.count(number) for number in range(count)] == paper_counts(sizes, budget)


def test_strata_are_of_equal_width_up_to_a_little_above_the_largest_score() -> None:
    """From 0 to 10.001 in four: edges at 2.50025, 5.0005 and 7.50075."""
    scores = np.array([0, 2.5, 2.51, 5.0004, 5.0006, 7.5007, 7.51, 10])

    edges, labels = stratify(scores, 0.0, 10.0, 4)

    assert edges.tolist() == pytest.approx([2.50025, 5.0005, 7.50075])
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_score_on_an_edge_belongs_to_the_stratum_above_it() -> None:
    scores = np.linspace(-3, 11, 20_000)
    edges, _ = stratify(scores, -3.0, 11.0, 50)

    _, labels = stratify(np.concatenate([scores, edges]), -3.0, 11.0, 50)

    assert labels.tolist() == np.searchsorted(edges, np.concatenate([scores, edges]), side="right").tolist()
    assert labels[len(scores) :].tolist() == list(range(1, 50))


def test_the_largest_of_negative_scores_lies_inside() -> None:
    """1.0001 * -1 is below -1, and the authors' code leaves that sample out; here the range ends at -0.9999."""
    edges, labels = stratify(np.array([-3.0, -2.0, -1.0]), -3.0, -1.0, 2)

    assert edges.tolist() == pytest.approx([-3 + 2.0001 / 2])
    assert labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -4.5, 1e300, 5e-324])
def test_equal_scores_are_one_stratum_from_which_chance_draws(value: float) -> None:
    pool = features([value] * 40)
    selection = CcsSelection(CcsStrategy(hard_cutoff=0.0))

    draws = {tuple(selection.rank(pool, seed=seed, places=10).rows[:10].tolist()) for seed in range(5)}

    assert len(draws) == 5
    assert all(len(set(draw)) == 10 for draw in draws)


@pytest.mark.parametrize(
    ("scores", "strata"),
    [
        ([0.0, 5e-324, 5e-324, 0.0], [0, 0, 0, 0]),
        ([-1e308, 1e308, -9e307, 1.7e308, 0.0], [0, 2, 0, 3, 1]),
    ],
    ids=["a range too narrow to be divided", "a range wider than the largest number"],
)
def test_ranges_at_the_ends_of_floating_point_are_stratified(scores: list[float], strata: list[int]) -> None:
    """The second range is from -1e308 to 1.70017e308: edges at -0.325, 0.35 and 1.025 times 1e308."""
    selection = CcsSelection(CcsStrategy(strata=4, hard_cutoff=0.0))

    ranking = selection.rank(features(scores), seed=1, places=len(scores))

    assert ranking.strata is not None
    assert ranking.strata.labels.tolist() == strata
    assert sorted(ranking.rows.tolist()) == list(range(len(scores)))


def test_the_hardest_are_pruned_and_of_equals_the_smaller_ids() -> None:
    """Hardness 3, 5, 5, 1, 5: two are pruned, rows 1 and 2 of the three that are equally hard."""
    assert prune(np.array([3.0, 5, 5, 1, 5]), 2).tolist() == [1, 2]


def test_the_pruned_come_last_the_least_hard_first() -> None:
    scores = random.Random(2).sample(range(100), 100)
    ranking = CcsSelection(CcsStrategy(hard_cutoff=0.3)).rank(features([float(s) for s in scores]), seed=1, places=100)

    hardness = [scores[row] for row in ranking.rows.tolist()]

    assert hardness[70:] == list(range(70, 100))
    assert sorted(hardness[:70]) == list(range(70))


def test_where_low_is_hard_the_lowest_are_pruned() -> None:
    """Of margins 0 to 9 the three smallest are the hardest; hardness is their negative."""
    margins = np.arange(10.0)

    rows = CcsSelection(CcsStrategy(score=Score.AUM, hard_cutoff=0.3)).rank(features(-margins), seed=1, places=10).rows

    assert rows[7:].tolist() == [2, 1, 0]


def test_the_release_s_edges_make_five_strata_of_equal_quotas_and_shortfall_is_refilled() -> None:
    """100, 100, 100, 100 and 4 samples; of 50 the release takes floor(50 / 5) = 10 each but 4 of the last, 44 in all.

    The 6 that lack go to the other four in turn: 12, 12, 11 and 11 of the largest, the last of equals first.
    """
    scores = np.concatenate([np.full(100, low) for low in (0.01, 0.025, 0.035, 0.045)] + [np.full(4, 0.9)])
    choice = resolved(SelectionStrategy(CcsStrategy(), SelectionPreset.PAPER)).kind
    assert isinstance(choice, CcsStrategy)

    rows = CcsSelection(choice).rank(features(scores), seed=1, places=50).rows[:50]

    taken = np.bincount(np.digitize(scores[rows], choice.stratum_edges))
    assert taken.tolist() == [11, 11, 12, 12, 4]


def test_scores_on_hand_set_edges_belong_above_them() -> None:
    ranking = CcsSelection(CcsStrategy(stratum_edges=(0.5, 1.0), hard_cutoff=0.0)).rank(
        features([0.4, 0.5, 0.9, 1.0, 7.0, -2.0]), seed=1, places=6
    )

    assert ranking.strata is not None
    assert ranking.strata.labels.tolist() == [0, 1, 1, 2, 2, 0]


def test_within_a_stratum_every_sample_is_as_likely() -> None:
    """2,000 seeds draw 3 of 6 equal scores: each is drawn 1,000 times, standard deviation 22."""
    selection, pool = CcsSelection(CcsStrategy(hard_cutoff=0.0)), features([1.0] * 6)

    drawn = np.bincount(
        np.concatenate([selection.rank(pool, seed=seed, places=3).rows[:3] for seed in range(2000)]), minlength=6
    )

    assert np.abs(drawn - 1000).max() < 5 * 22.4


def test_samples_within_reach_are_as_good_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small budget of a large stratum sorts only small hashes; the ranking is that of sorting all of them."""
    pool = features(np.random.default_rng(0).gamma(2, 2, 30_000))
    selection = CcsSelection(CcsStrategy(strata=3))
    quick = selection.rank(pool, seed=1, places=500).rows[:500]

    monkeypatch.setattr(ccs, "_in_reach", lambda hashes, strata, quotas: np.flatnonzero(strata.labels < len(quotas)))

    assert quick.tolist() == selection.rank(pool, seed=1, places=500).rows[:500].tolist()


def test_too_few_samples_within_reach_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that are all large leave none within reach of a small budget."""
    monkeypatch.setattr(ccs, "seeded_hashes", lambda ids, *_: np.full(len(ids), 2**32 - 1, dtype=np.uint32))

    rows = CcsSelection(CcsStrategy(hard_cutoff=0.0, strata=1)).rank(features([1.0, 2.0] * 500), seed=1, places=10).rows

    assert rows[:10].tolist() == list(range(10))


def test_a_stratum_count_out_of_range_is_refused() -> None:
    for strata in (0, 65_537):
        with pytest.raises(InvalidFields) as refused:
            CcsStrategy(strata=strata)
        assert [violation.field for violation in refused.value.violations] == ["strata"]


@pytest.mark.parametrize("edges", [(0.1, float("nan")), (float("inf"),), (-float("inf"), 0.0)])
def test_edges_that_are_not_finite_are_refused_by_place(edges: tuple[float, ...]) -> None:
    with pytest.raises(InvalidFields) as refused:
        CcsStrategy(stratum_edges=edges)
    assert all(violation.field.startswith("stratum_edges") for violation in refused.value.violations)
