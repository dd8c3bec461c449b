"""Rows of local files against what a request needs of them: by method, by score, and the texts of a KL term."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from llm_repair.coordinator.row_checks import row_violations
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DaptKlMethod, DaptMethod, DpoMethod, IrepairKlMethod, KtoMethod, Method, RepairMethod
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec
from llm_repair.core.selection import (
    Budget,
    CcsStrategy,
    FractionBudget,
    LossStrategy,
    RandomStrategy,
    Score,
    SelectionStrategy,
    Strategy,
)

SECRET = "unspeakable"
UNPAIRED = (
    {"id": "a", "prompt": SECRET, "chosen": SECRET},
    {"id": "b", "prompt": SECRET, "rejected": SECRET},
    {"id": "c", "prompt": SECRET, "completion": SECRET, "label": "0"},
    {"id": "d", "prompt": SECRET, "chosen": SECRET, "rejected": SECRET},
)


def request(folder: Path, method: Method, *rows: Mapping[str, str], strategy: Strategy | None = None) -> RepairSpec:
    """Returns a repair over these rows."""
    pool = folder / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RepairSpec(
        model=ModelRef("file:/model"),
        pool=PoolRows(DatasetRef(f"file:{pool}")),
        budget=Budget(FractionBudget(0.5)),
        selection=SelectionStrategy(strategy or RandomStrategy()),
        method=RepairMethod(method),
        evaluation=Evaluation(DatasetRef("hf:org/prompts")),
    )


def violations(spec: RepairSpec, *more: str) -> dict[str, str]:
    """Returns what is wrong with the rows, by field."""
    assert isinstance(spec.pool, PoolRows)
    found = list(row_violations(spec, {spec.pool.rows.reference, *more}))
    assert SECRET not in str(found)
    return {violation.field: violation.description for violation in found}


def test_kto_takes_rows_with_either_side(tmp_path: Path) -> None:
    assert violations(request(tmp_path, KtoMethod(), *UNPAIRED)) == {}


@pytest.mark.parametrize("method", [DaptMethod(), DaptKlMethod(), DpoMethod(), IrepairKlMethod()])
def test_other_methods_refuse_rows_without_chosen_and_name_them(tmp_path: Path, method: Method) -> None:
    found = violations(request(tmp_path, method, *UNPAIRED))

    assert set(found) == {"spec.pool_rows.rows"}
    assert "row 2: chosen: missing; row 3: chosen: missing" in found["spec.pool_rows.rows"]


@pytest.mark.parametrize(
    ("strategy", "lacks"),
    [
        (LossStrategy(), "2 rows lack `chosen`, which the score LOSS needs: b, c"),
        (CcsStrategy(score=Score.AUM), "2 rows lack `chosen`, which the score AUM needs: b, c"),
        (CcsStrategy(score=Score.TOXICITY), "1 rows lack `rejected`, which the score TOXICITY needs: a"),
    ],
)
def test_a_score_names_the_unpaired_rows_that_it_cannot_read(tmp_path: Path, strategy: Strategy, lacks: str) -> None:
    spec = request(tmp_path, KtoMethod(), *UNPAIRED, strategy=strategy)

    assert violations(spec) == {"spec.pool_rows.rows": lacks}


def test_a_selection_for_kto_takes_unpaired_rows_too(tmp_path: Path) -> None:
    spec = request(tmp_path, KtoMethod(), *UNPAIRED)

    assert violations(dataclasses.replace(spec, goal=RepairGoal.SELECTION)) == {}
    assert set(violations(dataclasses.replace(spec, goal=RepairGoal.SELECTION, method=None))) == {"spec.pool_rows.rows"}


def test_texts_of_a_kl_term_are_read_before_the_work_begins(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": SECRET}) + "\n" + json.dumps({"prompt": SECRET}) + "\n")
    utility = DatasetRef(f"file:{texts}")
    spec = request(tmp_path, DaptMethod(), {"prompt": "p", "chosen": "c"})
    spec = dataclasses.replace(spec, method=RepairMethod(DaptKlMethod()), utility=utility)

    found = violations(spec, utility.reference)

    assert set(found) == {"spec.utility"}
    assert "row 2: text: missing" in found["spec.utility"]
