"""Rows of local files against what a request needs of them: by method, by score, and the texts of a KL term."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from llm_repair.coordinator.row_checks import local_rows, row_violations
from llm_repair.core.errors import InvalidFields
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.policy import Criterion, CriterionSlice, GatePolicy, NonInferiorityRule
from llm_repair.core.probes import BiasPairs, ClozeSet, PromptSet
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import (
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    IrepairKlMethod,
    KtoMethod,
    Method,
    RepairMethod,
)
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec
from llm_repair.core.selection import (
    Budget,
    CcsStrategy,
    FractionBudget,
    FullStrategy,
    GrandStrategy,
    LossStrategy,
    RandomStrategy,
    SamplesBudget,
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
    found = list(row_violations(spec, local_rows(spec, {spec.pool.rows.reference, *more})))
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


def test_the_gradient_of_kto_is_scored_of_the_side_there_is(tmp_path: Path) -> None:
    assert violations(request(tmp_path, KtoMethod(), *UNPAIRED, strategy=GrandStrategy())) == {}


@pytest.mark.parametrize(
    ("method", "lacks"),
    [
        (DpoMethod(), "1 rows lack `rejected`, which the gradient of the method dpo needs: a"),
        (ExmateMethod(), "1 rows lack `rejected`, which the gradient of the method exmate needs: a"),
        (IrepairKlMethod(), ""),
    ],
)
def test_a_gradient_names_the_rows_without_the_second_side(tmp_path: Path, method: Method, lacks: str) -> None:
    spec = request(tmp_path, method, UNPAIRED[0], UNPAIRED[3], strategy=GrandStrategy())

    found = violations(dataclasses.replace(spec, goal=RepairGoal.SELECTION))

    assert found == ({"spec.pool_rows.rows": lacks} if lacks else {})


def test_full_takes_no_less_than_the_pool(tmp_path: Path) -> None:
    whole = dataclasses.replace(
        request(tmp_path, DpoMethod(), UNPAIRED[3], {**UNPAIRED[3], "id": "e"}),
        selection=SelectionStrategy(FullStrategy()),
        budget=Budget(SamplesBudget(2)),
    )

    assert violations(whole) == {}
    assert violations(dataclasses.replace(whole, budget=Budget(SamplesBudget(1)))) == {
        "spec.budget.samples.samples": "is 1, but FULL takes all 2 rows"
    }
    with pytest.raises(InvalidFields, match=r"budget\.fraction\.fraction: must be 1 for FULL"):
        dataclasses.replace(whole, budget=Budget(FractionBudget(0.5)))


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


def evaluation(folder: Path, metric: str, *, grouped: bool) -> RepairSpec:
    """Returns the evaluation of a model against another, every group of whose prompts must not get worse."""
    groups = {"group": "any"} if grouped else {}
    prompts, pairs = folder / "prompts.jsonl", folder / "pairs.jsonl"
    prompts.write_text(json.dumps({"prompt": SECRET, **groups}) + "\n")
    pairs.write_text(json.dumps({"chosen": SECRET, "rejected": f"{SECRET} too", **groups}) + "\n")
    return RepairSpec(
        goal=RepairGoal.EVALUATION,
        model=ModelRef("file:/model"),
        baseline=ModelRef("file:/base"),
        evaluation=Evaluation(
            DatasetRef(f"file:{prompts}"), bias_pairs=(BiasPairs("crows", DatasetRef(f"file:{pairs}")),)
        ),
        gate=GatePolicy((Criterion(metric, NonInferiorityRule(0.05), slice=CriterionSlice.EACH_GROUP),)),
    )


@pytest.mark.parametrize(
    ("metric", "field"),
    [("toxicity.mean", "evaluation.prompts"), ("bias.crows.preference", "evaluation.bias_pairs[0].pairs")],
)
def test_a_criterion_for_each_group_is_refused_where_no_row_has_one(metric: str, field: str, tmp_path: Path) -> None:
    read = [f"file:{tmp_path}/{name}.jsonl" for name in ("prompts", "pairs")]

    def found(*, grouped: bool) -> dict[str, str]:
        spec = evaluation(tmp_path, metric, grouped=grouped)
        return {entry.field: entry.description for entry in row_violations(spec, local_rows(spec, read))}

    assert found(grouped=False) == {"spec.gate.criteria[0].slice": f"no row of {field} has a group"}
    assert found(grouped=True) == {}


def test_rows_of_every_probe_are_read_before_the_work_begins(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"else": SECRET}) + "\n")
    data = DatasetRef(f"file:{bad}")
    spec = RepairSpec(
        goal=RepairGoal.EVALUATION,
        model=ModelRef("file:/model"),
        evaluation=Evaluation(
            data,
            cloze_sets=(ClozeSet("lambada", data),),
            bias_pairs=(BiasPairs("crows", data),),
            prompt_sets=(PromptSet("benign", data),),
            calibration=data,
        ),
    )

    found = {entry.field: entry.description for entry in row_violations(spec, local_rows(spec, {data.reference}))}

    assert SECRET not in str(found)
    assert {field: text.partition("row 1: ")[2] for field, text in found.items()} == {
        "spec.evaluation.prompts": "prompt: missing",
        "spec.evaluation.cloze_sets[0].texts": "text: missing",
        "spec.evaluation.bias_pairs[0].pairs": "chosen: missing",
        "spec.evaluation.prompt_sets[0].prompts": "prompt: missing",
        "spec.evaluation.calibration": "text: missing",
    }
