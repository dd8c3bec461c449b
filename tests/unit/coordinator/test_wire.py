"""What the coordinator refuses before it looks anything up."""

import pytest
from google.protobuf import text_format

from llm_repair.coordinator import wire
from llm_repair.coordinator.records import RepairRecord, StepRecord
from llm_repair.core.errors import InvalidFields
from llm_repair.core.execution import Artifact
from llm_repair.core.repairs import RepairGoal, RepairState, StepState
from llm_repair.v1 import coordinator_pb2 as pb


def test_states_that_do_not_exist_are_named_as_violations() -> None:
    with pytest.raises(InvalidFields) as caught:
        wire.states_of(pb.ListRepairsRequest(states=[0, 2, 99]))  # type: ignore[list-item]

    assert [violation.field for violation in caught.value.violations] == ["states[0]", "states[2]"]


def test_states_that_exist_are_taken() -> None:
    request = pb.ListRepairsRequest(states=[pb.REPAIR_STATE_RUNNING])

    assert wire.states_of(request) == [RepairState.RUNNING]


def violated(spec: str) -> set[str]:
    """Returns the fields that a request, in text form, is refused for; empty if it is not."""
    request = pb.CreateRepairRequest(spec=text_format.Parse(spec, pb.RepairSpec()))
    try:
        wire.repair_spec(request)
    except InvalidFields as error:
        return {violation.field for violation in error.violations}
    return set()


SELECTION = "goal: REPAIR_GOAL_SELECTION "
ROWS = "pool_rows { rows { reference: 'file:/rows.jsonl' } } budget { samples { samples: 3 } } "
PROMPTS = "self_generated_pool { prompts { reference: 'file:/prompts.jsonl' } } budget { samples { samples: 3 } } "
MODEL, ENCODER, PROXY = (f"{name} {{ reference: 'file:/{name}' }} " for name in ("model", "encoder", "proxy"))


def test_everything_a_selection_lacks_is_listed_at_once() -> None:
    assert violated(SELECTION) == {"spec.pool", "spec.budget", "spec.selection"}
    assert violated(SELECTION + "strategy { learnability { then { saps {} } } }") == {
        "spec.pool",
        "spec.budget",
        "spec.model",
        "spec.encoder",
    }


@pytest.mark.parametrize(
    ("spec", "lacks"),
    [
        (ROWS + "strategy { random {} }", set[str]()),
        (ROWS + "strategy { full {} }", set[str]()),
        (ROWS + "strategy { saps {} }", {"spec.encoder"}),
        (ROWS + ENCODER + "strategy { k_center {} }", set[str]()),
        (ROWS + "strategy { cluster_random {} }", {"spec.encoder"}),
        (ROWS + "strategy { grand {} }", {"spec.model"}),
        (ROWS + PROXY + "strategy { grand {} }", set[str]()),
        (ROWS + "strategy { ccs { score: SCORE_AUM } }", {"spec.model"}),
        (ROWS + "strategy { ccs { score: SCORE_TOXICITY } }", set[str]()),
        (ROWS + "strategy { ccs {} }", {"spec.model"}),
        (ROWS + "strategy { ccs {} preset: SELECTION_PRESET_PAPER }", set[str]()),
        (ROWS + PROXY + "strategy { learnability {} }", {"spec.model"}),
        (ROWS + MODEL + "strategy { learnability {} }", set[str]()),
        (ROWS + "strategy { hardness_filter {} }", {"spec.encoder"}),
        (ROWS + ENCODER + "strategy { hardness_filter { then { loss {} } } }", {"spec.model"}),
        (PROMPTS + "strategy { random {} }", {"spec.model"}),
        (PROMPTS + PROXY + "strategy { loss {} }", {"spec.model"}),
        (PROMPTS + MODEL + "strategy { random {} }", set[str]()),
    ],
)
def test_a_selection_needs_only_what_its_strategy_and_pool_go_by(spec: str, lacks: set[str]) -> None:
    assert violated(SELECTION + spec) == lacks


def test_a_repair_needs_model_method_and_prompts_whatever_its_strategy() -> None:
    assert violated(ROWS + "strategy { random {} }") == {"spec.model", "spec.method", "spec.evaluation.prompts"}


def test_the_goal_survives_the_database() -> None:
    spec = text_format.Parse(SELECTION + ROWS + "strategy { random {} }", pb.RepairSpec())
    asked = wire.repair_spec(pb.CreateRepairRequest(spec=spec))

    assert wire.spec_from_json(wire.spec_to_json(asked)).goal is RepairGoal.SELECTION


UTILITY = "utility { reference: 'file:/texts.jsonl' } "


@pytest.mark.parametrize(
    ("method", "goal", "refused"),
    [
        ("dapt_kl", "", set[str]()),
        ("irepair_kl", "", set[str]()),
        ("dpo", "", {"spec.utility"}),
        ("irepair", "", {"spec.utility"}),
        ("dpo", SELECTION, set[str]()),
    ],
)
def test_utility_texts_are_refused_where_no_kl_term_would_use_them(method: str, goal: str, refused: set[str]) -> None:
    measured = "evaluation { prompts { reference: 'file:/prompts.jsonl' } } "
    spec = f"{goal}{ROWS}{MODEL}{UTILITY}{measured}strategy {{ random {{}} }} method {{ {method} {{}} }}"

    assert violated(spec) == refused


MODEL_TREE, PARTIAL_TREE = (Artifact(f"sha256:{digit * 64}", 8, is_tree=True) for digit in "12")


@pytest.mark.parametrize(
    ("state", "step", "expected"),
    [
        (RepairState.CANCELLED, StepRecord("repair", "repair", StepState.CANCELLED), ""),
        (
            RepairState.CANCELLED,
            StepRecord("repair", "repair", StepState.CANCELLED, outputs={"partial": PARTIAL_TREE}),
            PARTIAL_TREE.digest,
        ),
        (
            RepairState.CANCELLED,
            StepRecord("repair", "repair", StepState.COMMITTED, outputs={"model": MODEL_TREE}),
            MODEL_TREE.digest,
        ),
        (
            RepairState.CANCELLED,
            StepRecord("repair.control", "repair", StepState.CANCELLED, outputs={"partial": PARTIAL_TREE}),
            "",
        ),
        (
            RepairState.RUNNING,
            StepRecord("repair", "repair", StepState.COMMITTED, outputs={"model": MODEL_TREE}),
            "",
        ),
    ],
)
def test_only_a_cancelled_repair_has_a_partial_model(state: RepairState, step: StepRecord, expected: str) -> None:
    spec = text_format.Parse(SELECTION + ROWS + "strategy { random {} }", pb.RepairSpec())
    asked = wire.repair_spec(pb.CreateRepairRequest(spec=spec))
    record = RepairRecord("projects/default/repairs/a", asked, {}, state, "2026-01-01T00:00:00+00:00", steps=(step,))

    assert wire.repair(record).partial_model.digest == expected


EVALUATION = "goal: REPAIR_GOAL_EVALUATION evaluation { prompts { reference: 'file:/prompts.jsonl' } } "


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ("", {"spec.model"}),
        (MODEL, set[str]()),
        (MODEL + "baseline { reference: 'file:/base' }", set[str]()),
        (MODEL + ROWS, {"spec.pool", "spec.budget"}),
        (
            MODEL + "strategy { random {} } method { dpo {} } " + PROXY + UTILITY,
            {"spec.selection", "spec.method", "spec.proxy", "spec.utility"},
        ),
    ],
)
def test_an_evaluation_needs_a_model_and_takes_nothing_that_trains(spec: str, refused: set[str]) -> None:
    assert violated(EVALUATION + spec) == refused


def test_an_evaluation_needs_prompts() -> None:
    assert violated("goal: REPAIR_GOAL_EVALUATION " + MODEL) == {"spec.evaluation.prompts"}


def test_a_baseline_is_for_evaluations_alone() -> None:
    assert "spec.baseline" in violated(ROWS + MODEL + "strategy { random {} } baseline { reference: 'file:/base' }")


def test_no_verdict_is_unspecified_on_the_wire() -> None:
    assert wire.gate(None) == pb.GateResult(verdict=pb.VERDICT_UNSPECIFIED)
