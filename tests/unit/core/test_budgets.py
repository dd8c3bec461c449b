import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.budgets import count_tokens, delivered_samples, most_samples, share_of
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


def test_tokens_buy_the_longest_prefix_that_fits() -> None:
    """Ranked costs 5, 3, 4, 1: 5 and 8 fit into 9, 12 does not; the 1 behind it is not fetched."""
    assert delivered_samples(TokensBudget(9), [1, 3, 4, 5], [5, 3, 4, 1]) == 2
    assert delivered_samples(TokensBudget(8), [1, 3, 4, 5], [5, 3, 4, 1]) == 2
    assert delivered_samples(TokensBudget(13), [1, 3, 4, 5], [5, 3, 4, 1]) == 4


def test_tokens_that_buy_nothing_are_refused() -> None:
    with pytest.raises(BudgetTooSmall):
        most_samples(TokensBudget(2), [3, 4])
    with pytest.raises(BudgetTooSmall):
        delivered_samples(TokensBudget(3), [3, 4], [4, 3])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(9, 100), st.randoms(use_true_random=False))
def test_no_ranking_delivers_more_than_the_most(tokens: list[int], limit: int, chance: object) -> None:
    ranked = list(tokens)
    chance.shuffle(ranked)  # type: ignore[attr-defined]

    delivered = delivered_samples(TokensBudget(limit), tokens, ranked)

    assert sum(ranked[:delivered]) <= limit
    assert delivered == len(ranked) or sum(ranked[: delivered + 1]) > limit
    assert delivered <= most_samples(TokensBudget(limit), tokens)


def test_tokens_are_runs_without_white_space() -> None:
    assert count_tokens(["two words", "", "one\u00a0\n three "]) == 4


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused_by_field(fraction: float) -> None:
    with pytest.raises(InvalidFields) as refused:
        FractionBudget(fraction)

    assert [violation.field for violation in refused.value.violations] == ["fraction"]
