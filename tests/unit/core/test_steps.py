"""Step keys: what decides a result decides the key, and nothing else does."""

import dataclasses
import hashlib

import pytest

from llm_repair.core.selection import (
    Budget,
    ClusterRandomStrategy,
    FractionBudget,
    KCenterStrategy,
    RandomStrategy,
    SelectionStrategy,
)
from llm_repair.core.steps import ReportStep, SelectStep, step_key, to_json

STEP = SelectStep("sha256:pool", SelectionStrategy(RandomStrategy()), Budget(FractionBudget(0.25)), seed=3)


def test_a_key_is_the_hash_of_the_canonical_spec() -> None:
    """Canonical JSON (RFC 8785) has sorted keys and no blanks; written out by hand here."""
    text = '{"kind":"report","spec":{"dossier_digest":"sha256:d","type":"ReportStep"},"version":3}'

    assert step_key(ReportStep("sha256:d")) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"pool_digest": "sha256:other"},
        {"seed": 4},
        {"budget": Budget(FractionBudget(0.5))},
        {"strategy": SelectionStrategy(KCenterStrategy())},
        {"embeddings_digest": "sha256:e"},
    ],
)
def test_every_field_changes_the_key(change: dict[str, object]) -> None:
    assert step_key(dataclasses.replace(STEP, **change)) != step_key(STEP)  # type: ignore[arg-type]


def test_two_strategies_with_equal_parameters_have_different_keys() -> None:
    """Without its type in the spec, two strategies that share all field names would share a result."""
    first = to_json(SelectionStrategy(KCenterStrategy()))
    second = to_json(SelectionStrategy(ClusterRandomStrategy()))

    assert first != second


def test_whole_numbers_and_floats_of_equal_value_share_a_key() -> None:
    """JSON knows one kind of number, so 1 and 1.0 are the same request."""
    whole = dataclasses.replace(STEP, budget=Budget(FractionBudget(1)))

    assert step_key(whole) == step_key(dataclasses.replace(STEP, budget=Budget(FractionBudget(1.0))))
