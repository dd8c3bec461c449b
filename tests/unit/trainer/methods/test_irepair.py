"""IREPAIR in the repair step: one block a step, recorded; nothing outside the blocks is touched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from training_runs import base_model, pairs, repaired, texts

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.repair import FullParameters, IrepairKlMethod, IrepairMethod, Method, Optimizer, RepairMethod


def method(objective: Method, **settings: object) -> RepairMethod:
    return RepairMethod(objective, learning_rate=2e-2, epochs=3, batch_samples=4, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", [IrepairMethod(), IrepairKlMethod()])
def test_block_of_every_step_is_recorded_and_counted(tmp_path: Path, objective: Method) -> None:
    utility = texts() if isinstance(objective, IrepairKlMethod) else []

    found = repaired(tmp_path / "run", method(objective), pairs(), utility=utility)

    blocks = [point["block"] for point in found.history["curve"]]
    assert len(blocks) == found.summary["optimizer_steps"] == 9
    assert found.summary["steps_by_block"] == {str(block): steps for block, steps in sorted(Counter(blocks).items())}
    assert len(set(blocks)) > 1
    assert found.summary["last_loss"] < found.summary["first_loss"]  # type: ignore[operator]


@pytest.mark.parametrize("optimizer", Optimizer)
def test_exactly_the_recorded_blocks_change(tmp_path: Path, optimizer: Optimizer) -> None:
    """Embeddings, final norm and head stay as they are to the bit, and so does a block never chosen."""
    settings = {"optimizer": optimizer, "weight_decay": 0.01, "validation_share": 0.0}
    found = repaired(tmp_path / "run", method(IrepairMethod(), **settings), pairs())

    before, after = base_model().state_dict(), found.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert all(name.startswith("model.layers.") for name in changed)
    assert {name.split(".")[2] for name in changed} == set(found.summary["steps_by_block"])  # type: ignore[arg-type]


def test_trained_parameters_are_those_of_the_layers(tmp_path: Path) -> None:
    found = repaired(tmp_path / "run", method(IrepairMethod()), pairs())

    assert found.summary["trained_parameters"] == sum(p.numel() for p in base_model().model.layers.parameters())


def test_blocks_are_chosen_among_the_layers_asked_for(tmp_path: Path) -> None:
    found = repaired(tmp_path / "run", method(IrepairMethod(), trainable=FullParameters(layers=(2,))), pairs())

    assert found.summary["steps_by_block"] == {"2": 9}


def test_rows_without_an_unwanted_continuation_are_refused_by_id(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid) as refused:
        repaired(tmp_path / "run", method(IrepairMethod()), [*pairs(4), Row("lone", "you are", "kind")])

    assert refused.value.metadata == {"count": "1", "ids": "lone"}
