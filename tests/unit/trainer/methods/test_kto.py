"""KTO in the repair step: learns from labels alone, a row with both continuations counting as two samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from training_runs import base_model, pairs, repaired, words_log_prob
from transformers import PreTrainedModel

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.repair import FullParameters, KtoMethod, RepairMethod
from llm_repair.trainer.samples import selected_texts

METHOD = RepairMethod(KtoMethod(), FullParameters(), learning_rate=1e-2, epochs=4, batch_samples=4)


def unpaired() -> list[Row]:
    """Four rows with what is wanted, four with what is not, four with both."""
    rows = pairs()
    wanted = [replace(row, rejected="") for row in rows[:4]]
    unwanted = [replace(row, chosen="") for row in rows[4:8]]
    return [*wanted, *unwanted, *rows[8:]]


def gain(model: PreTrainedModel, prompt: str, continuation: str) -> float:
    """Returns by how much a continuation has become likelier, in nats."""
    return float(words_log_prob(model, prompt, continuation) - words_log_prob(base_model(), prompt, continuation))


def test_wanted_continuations_become_likelier_and_unwanted_ones_less_likely(tmp_path: Path) -> None:
    rows = unpaired()

    found = repaired(tmp_path / "run", METHOD, rows)

    before, after = base_model(), found.model
    gains = [
        words_log_prob(after, r.prompt, r.chosen) - words_log_prob(before, r.prompt, r.chosen) for r in rows if r.chosen
    ]
    losses = [
        words_log_prob(after, r.prompt, r.rejected) - words_log_prob(before, r.prompt, r.rejected)
        for r in rows
        if r.rejected
    ]
    assert sum(gains) > 0 > sum(losses)
    assert found.summary["last_loss"] < found.summary["first_loss"]  # type: ignore[operator]


def test_first_loss_is_a_half_and_its_baseline_zero(tmp_path: Path) -> None:
    """Before the first step all log-ratios are 0, and so is z0: 1 - sigma(0) = 0.5 whatever the label."""
    found = repaired(tmp_path / "run", METHOD, unpaired())

    first = found.history["curve"][0]
    assert first["loss"] == pytest.approx(0.5, abs=1e-6)
    assert first["measures"]["baseline"] == pytest.approx(0, abs=1e-5)  # type: ignore[index, call-overload]


def test_summary_counts_samples_and_the_unwanted_among_them(tmp_path: Path) -> None:
    """8 rows with one continuation and 4 with two are 16 samples, 8 of them unwanted; a row of 12 is held out."""
    found = repaired(tmp_path / "run", METHOD, unpaired())

    counts = [found.summary[name] for name in ("samples", "validation_samples", "undesirable_samples")]
    assert counts[0] + counts[1] == 16  # type: ignore[operator]
    assert counts[1] in (1, 2)
    assert counts[2] == 8


def test_both_samples_of_a_row_are_on_the_same_side_of_the_split() -> None:
    """Else the prompt of a validation sample would have been trained on."""
    texts = selected_texts(pairs(), [row.id for row in pairs()], KtoMethod(), validation_share=0.3)

    held_out = {text.id.rpartition("/")[0] for text in texts.held_out}
    assert len(texts.held_out) == 8
    assert held_out.isdisjoint({text.id.rpartition("/")[0] for text in texts.training})


def test_ids_of_samples_differ_whatever_the_ids_of_the_rows() -> None:
    rows = [
        Row("a", "you", "kind", "bad"),
        Row("a/chosen", "you", "good", "mean"),
        Row("a/rejected", "you", "kind", ""),
    ]

    texts = selected_texts(rows, [row.id for row in rows], KtoMethod(), validation_share=0.0)

    assert len({text.id for text in texts.training}) == len(texts.training) == 5
    assert [text.desirable for text in texts.training] == [True, False, True, False, True]


def test_row_with_neither_continuation_is_refused_by_id(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid) as refused:
        repaired(tmp_path / "run", METHOD, [*pairs(4), Row("bare", "you are")])

    assert refused.value.metadata == {"count": "1", "ids": "bare"}


@pytest.mark.parametrize(("missing", "sign"), [("rejected", 1), ("chosen", -1)])
def test_labels_of_one_kind_alone_can_be_learnt(tmp_path: Path, missing: str, sign: int) -> None:
    rows = [replace(row, **{missing: ""}) for row in pairs()]

    found = repaired(tmp_path / "run", METHOD, rows)

    assert sign * sum(gain(found.model, row.prompt, row.chosen or row.rejected) for row in rows) > 0
