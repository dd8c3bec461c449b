"""DAPT_KL in the repair step: learns like DAPT, and keeps the model's own words likely."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_oracle import token_log_probs
from training_runs import base_model, ids, pairs, repaired, texts
from transformers import PreTrainedModel

from llm_repair.core.errors import InvalidFields, PoolTooSmall
from llm_repair.core.repair import DaptKlMethod, FullParameters, IrepairKlMethod, LoraParameters, Method, RepairMethod


def method(objective: Method, trained: FullParameters | LoraParameters | None = None) -> RepairMethod:
    return RepairMethod(objective, trained or FullParameters(), learning_rate=1e-2, epochs=4, batch_samples=4)


def divergence(model: PreTrainedModel) -> float:
    """Returns the mean KL of a model from the base over the tokens of the utility texts, each after the end token."""
    with torch.no_grad():
        p, q = (
            torch.cat([token_log_probs(each, [0], ids(text.text)) for text in texts()])
            for each in (base_model(), model)
        )
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_kl_term_keeps_the_model_near_its_own_words(tmp_path: Path) -> None:
    free = repaired(tmp_path / "free", method(DaptKlMethod(kl_weight=0.0)), pairs(), utility=texts())
    held = repaired(tmp_path / "held", method(DaptKlMethod(kl_weight=5.0)), pairs(), utility=texts())

    assert divergence(held.model) < divergence(free.model) / 2
    assert held.summary["last_loss"] < held.summary["first_loss"]  # type: ignore[operator]


@pytest.mark.parametrize("trained", [FullParameters(top_layers=1), LoraParameters(rank=2)])
def test_curve_shows_the_divergence_which_starts_at_zero(
    tmp_path: Path, trained: FullParameters | LoraParameters
) -> None:
    found = repaired(tmp_path / "run", method(DaptKlMethod(), trained), pairs(), utility=texts())

    shown = [point["measures"]["kl"] for point in found.history["curve"]]  # type: ignore[index, call-overload]
    assert shown[0] == 0.0
    assert min(shown[1:]) > 0.0
    assert found.summary["utility_texts"] == 20


@pytest.mark.parametrize("objective", [DaptKlMethod(), IrepairKlMethod()])
def test_method_with_a_kl_term_but_no_utility_texts_is_refused_by_field(tmp_path: Path, objective: Method) -> None:
    with pytest.raises(InvalidFields) as refused:
        repaired(tmp_path / "run", method(objective), pairs())

    assert [violation.field for violation in refused.value.violations] == ["utility_digest"]


def test_single_utility_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoolTooSmall, match="at least 2 utility texts"):
        repaired(tmp_path / "run", method(DaptKlMethod()), pairs(), utility=texts(1))
