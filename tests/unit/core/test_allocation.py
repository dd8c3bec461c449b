import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.allocation import coverage_seats, equal_seats, interleave, stable_order, webster_seats

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def test_webster_hands_out_seats_as_worked_by_hand() -> None:
    """Sizes 5, 3, 1, quotients size / (2 seats + 1).

    Seat 1: 5, 3, 1 -> A.     Seat 2: 5/3, 3, 1 -> B.      Seat 3: 5/3, 1, 1 -> A.
    Seat 4: 1, 1, 1 -> tie, the largest: A.                 Seat 5: 5/7, 1, 1 -> tie, B.
    Seat 6: 5/7, 3/5, 1 -> C. Seat 7: 5/7, 3/5, 1/3 -> A.   Seat 8: 5/9, 3/5, 1/3 -> B.   Seat 9: 5/9 -> A.
    """
    assert webster_seats([5, 3, 1]).tolist() == [0, 1, 0, 0, 1, 2, 0, 1, 0]


def test_webster_agrees_with_a_published_apportionment() -> None:
    """Sainte-Laguë for votes 53, 24, 23 in 7 seats.

    Quotients 53, 17.67, 10.6, 7.57 against 24, 8, 4.8 and 23, 7.67: the seven largest are 53, 24, 23, 17.67, 10.6, 8,
    7.67, hence 3, 2, 2 (the textbook case in which the majority of votes gets a minority of seats).
    """
    assert np.bincount(webster_seats([53, 24, 23])[:7]).tolist() == [3, 2, 2]


@given(SIZES)
def test_webster_fills_every_cluster_exactly_and_never_beyond(sizes: list[int]) -> None:
    assert np.bincount(webster_seats(sizes)).tolist() == sizes


@given(SIZES, st.data())
def test_webster_minimises_the_largest_quotient_left_over(sizes: list[int], data: st.DataObject) -> None:
    """The optimality of a divisor method: no cluster that got a seat had less claim to it than one that waits."""
    house = data.draw(st.integers(1, sum(sizes)))

    seats = np.bincount(webster_seats(sizes)[:house], minlength=len(sizes))

    claim_of_last_seat = [size / (2 * got - 1) for size, got in zip(sizes, seats, strict=True) if got]
    claim_to_next_seat = [size / (2 * got + 1) for size, got in zip(sizes, seats, strict=True)]
    assert min(claim_of_last_seat) >= max(claim_to_next_seat) - 1e-12


def test_equal_seats_take_what_a_small_cluster_lacks_from_the_others() -> None:
    """Sizes 4, 1, 3: rounds are A B C, A C, A C, A."""
    assert equal_seats([4, 1, 3]).tolist() == [0, 1, 2, 0, 2, 0, 2, 0]


@given(st.integers(1, 6), st.integers(1, 10), st.integers(0, 5))
def test_equal_seats_are_the_quota_of_the_release_where_clusters_are_large_enough(
    clusters: int, quota: int, spare: int
) -> None:
    seats = equal_seats([quota + spare] * clusters)

    assert np.bincount(seats[: quota * clusters]).tolist() == [quota] * clusters


def quotas_of_zheng_et_al(sizes: list[int], budget: int) -> list[int]:
    """The procedure of the CCS paper as its authors wrote it down, stratum by stratum from the smallest."""
    received = [0] * len(sizes)
    left = budget
    for visited, stratum in enumerate(sorted(range(len(sizes)), key=lambda number: sizes[number])):
        received[stratum] = min(sizes[stratum], left // (len(sizes) - visited))
        left -= received[stratum]
    return received


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9))
def test_coverage_seats_are_those_of_the_paper_at_every_budget(sizes: list[int]) -> None:
    seats = coverage_seats(sizes)

    for budget in range(sum(sizes) + 1):
        assert np.bincount(seats[:budget], minlength=len(sizes)).tolist() == quotas_of_zheng_et_al(sizes, budget)


def test_coverage_seats_go_to_the_larger_strata_first_in_every_round() -> None:
    """Sizes 1, 3, 0, 2: rounds are 1 3 0, 1 3, 1."""
    assert coverage_seats([1, 3, 0, 2]).tolist() == [1, 3, 0, 1, 3, 1]


@pytest.mark.parametrize("seats", [webster_seats, equal_seats, coverage_seats])
@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [0, 3, 0]])
def test_clusters_without_samples_get_no_seat(seats: object, sizes: list[int]) -> None:
    assert seats(sizes).tolist() == [1] * sum(sizes)  # type: ignore[operator]


@pytest.mark.parametrize("count", [3, 70_000])
def test_labels_are_sorted_stably_whatever_their_number(count: int) -> None:
    labels = np.array([2, 0, 2, 1, 0]) * (count // 3)

    assert stable_order(labels, count).tolist() == [1, 4, 3, 0, 2]


def test_each_seat_is_filled_with_the_next_member_of_its_cluster() -> None:
    order = interleave(np.array([1, 0, 1, 1]), [np.array([7]), np.array([5, 3, 4])])

    assert order.tolist() == [5, 7, 3, 4]
