"""How numbers read on a terminal."""

from __future__ import annotations

import pytest

from llm_repair.cli import words
from llm_repair.v1 import types_pb2

DIFFERENCE, RATIO = types_pb2.CHANGE_KIND_DIFFERENCE, types_pb2.CHANGE_KIND_RATIO


@pytest.mark.parametrize(
    ("kind", "numbers", "text"),
    [
        (DIFFERENCE, (-0.5, -0.75, 0.12345678), "-0.5 [-0.75, +0.1235]"),
        (DIFFERENCE, (-5.551e-17, -0.1427, 0.1427), "+0 [-0.1427, +0.1427]"),
        (RATIO, (1.0112345, 1.007, 1.014), "×1.011 [1.007, 1.014]"),
    ],
)
def test_changes_have_four_digits_and_no_rest_of_rounding(
    kind: types_pb2.ChangeKind, numbers: tuple[float, float, float], text: str
) -> None:
    value, low, high = numbers
    estimate = types_pb2.Estimate(value=value, low=low, high=high)

    assert words.change(types_pb2.Metric(change=types_pb2.Quantity(estimate=estimate), change_kind=kind)) == text
