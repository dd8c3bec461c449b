"""Whether other weights were served: fixed texts must not be exactly as likely as before."""

from __future__ import annotations

import dataclasses
import math

import pytest

from llm_repair.core.errors import AdapterNotApplied
from llm_repair.evaluation.metrics.fingerprint import fingerprint_to_json, refuse_equal_weights
from llm_repair.evaluation.metrics.measurement import FixedText, Measurement, SampledPrompts


def measured(weights: str, *nlls: float) -> Measurement:
    return Measurement(
        about={"model": {"weights_digest": weights}} if weights else {},
        prompts=SampledPrompts({}, {}, {}),
        corpora={},
        prompt_sets={},
        cloze_sets={},
        bias_pairs={},
        fingerprint=tuple(FixedText(nll, 10) for nll in nlls),
        calibration=None,
    )


def test_other_weights_that_say_exactly_the_same_were_not_served() -> None:
    with pytest.raises(AdapterNotApplied, match="served with those of the base") as refused:
        refuse_equal_weights(measured("sha256:a", 30.0, 20.0), measured("sha256:b", 30.0, 20.0))

    assert refused.value.metadata == {"texts": "2"}


@pytest.mark.parametrize(
    ("base", "repaired"),
    [
        # The last bit of one text is enough.
        (measured("sha256:a", 30.0, 20.0), measured("sha256:b", 30.0, math.nextafter(20.0, 30.0))),
        # A model against itself.
        (measured("sha256:a", 30.0, 20.0), measured("sha256:a", 30.0, 20.0)),
        # Nothing was asked.
        (measured("sha256:a"), measured("sha256:b")),
        # Likelihoods that are no numbers prove nothing.
        (measured("sha256:a", math.nan), measured("sha256:b", math.nan)),
    ],
)
def test_anything_else_passes(base: Measurement, repaired: Measurement) -> None:
    refuse_equal_weights(base, repaired)


def test_changes_are_per_token_and_averaged_over_texts() -> None:
    """|31 - 30| / 10 and |17 - 20| / 10."""
    assert fingerprint_to_json(measured("sha256:a", 30.0, 20.0), measured("sha256:b", 31.0, 17.0)) == {
        "weights_differ": True,
        "texts": 2,
        "mean_nll_change": pytest.approx(0.2),
        "largest_nll_change": pytest.approx(0.3),
    }


def test_what_was_not_recorded_is_null() -> None:
    found = fingerprint_to_json(measured("", 30.0), measured("sha256:b", math.nan))

    assert found == {"weights_differ": None, "texts": 1, "mean_nll_change": None, "largest_nll_change": None}
    empty = dataclasses.replace(measured("sha256:a"), fingerprint=(FixedText(0.0, 0),))
    assert fingerprint_to_json(empty, empty)["mean_nll_change"] is None
