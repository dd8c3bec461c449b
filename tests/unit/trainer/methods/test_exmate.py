"""EXMATE in the repair step: chosen continuations become likelier and rejected ones less so, without a reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import base_model, pairs, repaired, words_log_prob

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.repair import ExmateMethod, FullParameters, RepairMethod


def method(objective: ExmateMethod) -> RepairMethod:
    return RepairMethod(objective, FullParameters(), learning_rate=1e-2, epochs=3, batch_samples=4)


def test_chosen_become_likelier_than_rejected_continuations(tmp_path: Path) -> None:
    rows = pairs()

    found = repaired(tmp_path / "run", method(ExmateMethod()), rows)

    def margin(model: object, row: Row) -> float:
        return float(words_log_prob(model, row.prompt, row.chosen) - words_log_prob(model, row.prompt, row.rejected))  # type: ignore[arg-type]

    before, after = base_model(), found.model
    assert all(margin(after, row) > margin(before, row) for row in rows)
    assert set(found.history["curve"][0]["measures"]) == {"rejected_probability"}  # type: ignore[arg-type]
    assert found.summary["seconds"]["reference"] < 0.5  # type: ignore[index, call-overload]


def test_dpo_term_brings_its_measures_and_its_margin_starts_at_zero(tmp_path: Path) -> None:
    found = repaired(tmp_path / "run", method(ExmateMethod(dpo_weight=1.0)), pairs())

    first = found.history["curve"][0]["measures"]
    assert set(first) == {"rejected_probability", "reward_margin", "reward_accuracy"}  # type: ignore[arg-type]
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5)  # type: ignore[index, call-overload]


def test_rows_without_an_unwanted_continuation_are_refused_by_id(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="lone"):
        repaired(tmp_path / "run", method(ExmateMethod()), [*pairs(4), Row("lone", "you are", "kind")])
