"""Ranges of fields."""

import pytest

from llm_repair.core.errors import InvalidFields
from llm_repair.core.selection import SamplesBudget


def test_an_integer_that_no_key_can_hold_is_refused() -> None:
    assert SamplesBudget(2**53 - 1).samples == 2**53 - 1
    with pytest.raises(InvalidFields):
        SamplesBudget(2**53)
