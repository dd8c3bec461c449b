import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.budgets import count_tokens, delivered_samples, most_samples, share_of, whole_part_of
from llm_repair.core.errors import BudgetTooSmall, InvalidFields, PoolTooSmall
from llm_repair.core.selection import FractionBudget, SamplesBudget, TokensBudget


@pytest.mark.parametrize(
    ("fraction", "pool", "samples"),
    [
        (0.25, 10, 3),  # 2.5, half up
        (0.15, 10, 2),  # 1.5 as written, although the binary 0.15 is a little less
        (0.145, 100, 15),  # 14.5
        (0.1, 14, 1),  # 1.4
        (0.01, 10, 1),  # 0.1, at least one
        (1.0, 7, 7),
        (1e-9, 3, 1),
    ],
)
def test_a_fraction_is_rounded_half_up_and_buys_at_least_one(fraction: float, pool: int, samples: int) -> None:
    assert share_of(fraction, pool) == samples
    assert most_samples(FractionBudget(fraction), [1] * pool) == samples


def test_more_samples_than_the_pool_has_are_refused() -> None:
    with pytest.raises(PoolTooSmall) as refused:
        most_samples(SamplesBudget(4), [1, 1, 1])

    assert refused.value.metadata == {"field": "budget.samples.samples", "samples": "4", "pool": "3"}


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(PoolTooSmall):
        most_samples(FractionBudget(1.0), [])


@pytest.mark.parametrize(("limit", "samples"), [(5, 1), (7, 1), (8, 2), (9, 2), (12, 3), (13, 4), (99, 4)])
def test_tokens_buy_the_longest_prefix_that_fits(limit: int, samples: int) -> None:
    """Ranked costs 5, 3, 4, 1 add up to 5, 8, 12, 13: into 9 fit two, and the 1 behind the 4 is not fetched."""
    assert delivered_samples(TokensBudget(limit), 4, [5, 3, 4, 1]) == samples


def test_samples_without_tokens_cost_nothing() -> None:
    """Costs 0, 2, 0, 3 add up to 0, 2, 2, 5."""
    assert delivered_samples(TokensBudget(2), 4, [0, 2, 0, 3]) == 3


@pytest.mark.parametrize("limit", [FractionBudget(0.5), SamplesBudget(2)])
def test_other_budgets_deliver_the_most_they_can_buy(limit: FractionBudget | SamplesBudget) -> None:
    most = most_samples(limit, [9, 9, 9, 9])

    assert delivered_samples(limit, most, [9, 9]) == most == 2


def test_tokens_that_buy_nothing_are_refused_by_field() -> None:
    with pytest.raises(BudgetTooSmall) as shortest:
        most_samples(TokensBudget(2), [4, 3])
    with pytest.raises(BudgetTooSmall) as first:
        delivered_samples(TokensBudget(3), 1, [4, 3])

    assert shortest.value.metadata == {"field": "budget.tokens.tokens", "tokens": "2", "needed": "3"}
    assert first.value.metadata == {"field": "budget.tokens.tokens", "tokens": "3", "needed": "4"}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(9, 100), st.randoms(use_true_random=False))
def test_no_ranking_delivers_more_than_the_most(tokens: list[int], limit: int, chance: object) -> None:
    ranked = list(tokens)
    chance.shuffle(ranked)  # type: ignore[attr-defined]
    most = most_samples(TokensBudget(limit), np.array(tokens))

    delivered = delivered_samples(TokensBudget(limit), most, np.array(ranked))

    assert sum(ranked[:delivered]) <= limit
    assert delivered == len(ranked) or sum(ranked[: delivered + 1]) > limit
    assert delivered <= most


@pytest.mark.parametrize(
    ("fraction", "pool", "samples"),
    [(0.29, 100, 29), (0.1, 9, 0), (0.3, 10, 3), (0.999, 1000, 999), (0.0, 5, 0), (0.99, 10, 9)],
)
def test_a_whole_part_is_rounded_down_from_the_fraction_as_written(fraction: float, pool: int, samples: int) -> None:
    """0.29 * 100 is 28.999999999999996 in binary."""
    assert whole_part_of(fraction, pool) == samples


def test_tokens_are_runs_without_white_space() -> None:
    assert count_tokens(["two words", "", "one\u00a0\n three "]) == 4


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused_by_field(fraction: float) -> None:
    with pytest.raises(InvalidFields) as refused:
        FractionBudget(fraction)

    assert [violation.field for violation in refused.value.violations] == ["fraction"]
