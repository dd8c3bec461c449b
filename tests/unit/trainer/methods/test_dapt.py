"""DAPT in the repair step: chosen continuations become likelier, by option the worst predicted ones first."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import base_model, pairs, repaired, words_log_prob

from llm_repair.artifacts.datasets import Row
from llm_repair.core.repair import DaptMethod, FullParameters, Method, RepairMethod


def method(objective: Method, **settings: object) -> RepairMethod:
    return RepairMethod(objective, FullParameters(), learning_rate=1e-2, epochs=2, batch_samples=4, **settings)  # type: ignore[arg-type]


def test_chosen_continuations_become_likelier(tmp_path: Path) -> None:
    rows = pairs()

    found = repaired(tmp_path / "run", method(DaptMethod()), rows)

    before, after = base_model(), found.model
    gains = [words_log_prob(after, r.prompt, r.chosen) - words_log_prob(before, r.prompt, r.chosen) for r in rows]
    assert min(gains) > 0


def test_weighing_by_loss_favours_what_is_predicted_worst(tmp_path: Path) -> None:
    """Of the training samples, the one with the largest loss per token before gains more than without weights."""
    rows = [*pairs(8), Row("worst", "you", "<unk> <unk> <unk>")]
    plain = repaired(tmp_path / "plain", method(DaptMethod(), validation_share=0.0), rows)
    weighed = repaired(tmp_path / "weighed", method(DaptMethod(0.3), validation_share=0.0), rows)
    losses = {row.id: -words_log_prob(base_model(), row.prompt, row.chosen) / len(row.chosen.split()) for row in rows}
    worst = max(rows, key=lambda row: losses[row.id])

    after_plain, after_weighed = (words_log_prob(run.model, worst.prompt, worst.chosen) for run in (plain, weighed))

    assert after_weighed > after_plain


def test_first_loss_is_the_mean_over_the_tokens_of_the_batch(tmp_path: Path) -> None:
    """One batch of all samples: minus the sum of their log-probabilities over the number of their tokens."""
    rows = pairs(4)
    log_probs = [words_log_prob(base_model(), row.prompt, row.chosen) for row in rows]

    found = repaired(tmp_path / "run", method(DaptMethod(), validation_share=0.0), rows)

    expected = -float(sum(log_probs)) / sum(len(row.chosen.split()) for row in rows)
    assert found.summary["first_loss"] == pytest.approx(expected, abs=1e-5)
