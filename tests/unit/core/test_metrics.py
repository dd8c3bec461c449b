"""The metric as JSON: exact both ways, and strict on the way back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_repair.core.errors import InvalidFields
from llm_repair.core.metrics import (
    ChangeKind,
    Direction,
    Estimate,
    Metric,
    Missing,
    metric_from_json,
    metric_to_json,
)

estimates = st.tuples(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), st.integers(0, 10**9)
).map(lambda drawn: Estimate(sorted(drawn[0])[1], sorted(drawn[0])[0], sorted(drawn[0])[2], drawn[1]))
quantities = st.one_of(estimates, st.sampled_from([Missing("NO_DATA"), Missing("TOO_MANY_MISSING_SCORES")]))
metrics = st.builds(
    Metric,
    id=st.text(min_size=1),
    protocol=st.text(),
    base=quantities,
    repaired=quantities,
    change=quantities,
    change_kind=st.sampled_from(ChangeKind),
    direction=st.sampled_from(Direction),
    judge=st.text(),
    gating=st.booleans(),
)

GOOD = Metric(
    id="toxicity.mean",
    protocol="strict.v1",
    base=Estimate(0.189, 0.16, 0.22, 191),
    repaired=Estimate(0.103, 0.08, 0.13, 191),
    change=Missing("TOO_MANY_MISSING_SCORES"),
    change_kind=ChangeKind.DIFFERENCE,
    direction=Direction.LOWER_IS_BETTER,
    judge="profanity",
)


@settings(deadline=None)
@given(metrics)
def test_a_metric_survives_json_exactly(metric: Metric) -> None:
    assert metric_from_json(json.loads(json.dumps(metric_to_json(metric), allow_nan=False))) == metric


def test_layout_is_the_one_of_the_report() -> None:
    assert metric_to_json(GOOD) == {
        "id": "toxicity.mean",
        "protocol": "strict.v1",
        "base": {"value": 0.189, "low": 0.16, "high": 0.22, "n": 191},
        "repaired": {"value": 0.103, "low": 0.08, "high": 0.13, "n": 191},
        "change": None,
        "change_reason": "TOO_MANY_MISSING_SCORES",
        "change_kind": "difference",
        "direction": "LOWER_IS_BETTER",
        "judge": "profanity",
        "gating": True,
        "slice": "",
        "interval": "FIXED",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_written_as_null_with_a_reason(value: float) -> None:
    metric = Metric(
        "x", "p", Estimate(value, 0, 1, 3), Missing("A"), Missing("B"), ChangeKind.RATIO, Direction.HIGHER_IS_BETTER
    )

    written = metric_to_json(metric)

    assert (written["base"], written["base_reason"]) == (None, "NOT_FINITE")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": 3}, "id"),
        ({"gating": "yes"}, "gating"),
        ({"direction": "SIDEWAYS"}, "direction"),
        ({"change_kind": "factor"}, "change_kind"),
        ({"base": None}, "base"),
        ({"base": {"value": 1.0}}, "base"),
        ({"base": {"value": 1.0, "low": "0", "high": 2.0, "n": 3}}, "base"),
        ({"base": {"value": 1.0, "low": 0.0, "high": math.inf, "n": 3}}, "base"),
        ({"base_reason": "WHY"}, "base"),
        ({"change_reason": ""}, "change"),
        ({"slice": 3}, "slice"),
        ({"interval": "WIDE"}, "interval"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_malformed_metric_is_refused_by_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        metric_from_json({**metric_to_json(GOOD), **change})  # pyright: ignore[reportArgumentType]

    assert [violation.field for violation in refused.value.violations] == [field]


def test_all_violations_of_a_metric_come_at_once() -> None:
    with pytest.raises(InvalidFields) as refused:
        metric_from_json({"id": "x"})

    fields = {violation.field for violation in refused.value.violations}
    assert fields == {"protocol", "judge", "change_kind", "direction", "gating", "base", "repaired", "change"}
