"""Ranges of fields."""

import pytest

from llm_repair.core.errors import InvalidFields
from llm_repair.core.selection import FractionBudget, SamplesBudget


def test_an_integer_that_no_key_can_hold_is_refused() -> None:
    assert SamplesBudget(2**53 - 1).samples == 2**53 - 1
    with pytest.raises(InvalidFields):
        SamplesBudget(2**53)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: FractionBudget(1.0000001), "must be in (0, 1], is 1.0000001"),
        (lambda: FractionBudget(-0.25), "must be in (0, 1], is -0.25"),
        (lambda: FractionBudget(float("nan")), "must be in (0, 1], is nan"),
        (lambda: SamplesBudget(0), "must be in [1, 9007199254740991], is 0"),
    ],
)
def test_a_fault_shows_numbers_as_they_are(make, fault: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        make()

    assert [violation.description for violation in refused.value.violations] == [fault]
