"""What a repair did to the weights: counted by tensors, and finite in the number format of the base."""

from __future__ import annotations

import math

import pytest
import torch
from training_runs import base_model

from llm_repair.core.errors import AdapterNotApplied
from llm_repair.trainer.weights import WeightChange, weight_change

UNUSED = 1
"""A token of the vocabulary."""


def test_tensors_that_differ_are_counted_with_the_largest_difference() -> None:
    base, repaired = base_model(), base_model()
    with torch.no_grad():
        repaired.get_parameter("model.norm.weight")[3] -= 0.5
        repaired.get_parameter("lm_head.weight")[2, 4] += 0.25

    assert weight_change(repaired, base) == WeightChange(2, len(list(base.parameters())), 0.5)


def test_equal_weights_are_refused_whatever_they_are() -> None:
    base, repaired = base_model(), base_model()
    with torch.no_grad():
        for model in (base, repaired):
            model.get_parameter("model.embed_tokens.weight")[UNUSED] = math.nan

    with pytest.raises(AdapterNotApplied):
        weight_change(repaired, base)


def test_a_row_that_is_no_number_in_the_base_does_not_hide_the_others() -> None:
    base, repaired = base_model(), base_model()
    with torch.no_grad():
        for model in (base, repaired):
            model.get_parameter("model.embed_tokens.weight")[UNUSED] = math.nan
        repaired.get_parameter("model.norm.weight")[3] -= 0.5

    assert weight_change(repaired, base) == WeightChange(1, len(list(base.parameters())), 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_became_no_number_shows_as_one(value: float) -> None:
    base, repaired = base_model(), base_model()
    with torch.no_grad():
        repaired.get_parameter("model.norm.weight")[3] = value
        repaired.get_parameter("lm_head.weight")[2, 4] += 0.25

    found = weight_change(repaired, base)

    assert found.changed_tensors == 2
    assert not math.isfinite(found.max_abs_change)
