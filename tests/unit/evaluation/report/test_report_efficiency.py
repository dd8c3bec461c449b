"""RES: put together from the comparison and the bill, or null with a reason."""

from __future__ import annotations

import pytest

from llm_repair.core.metrics import ChangeKind, Direction, Estimate, Metric, Missing, metric_to_json
from llm_repair.evaluation.report.efficiency import OPS_RATIO, efficiency
from llm_repair.evaluation.report.readings import read_metrics
from llm_repair.evaluation.report.tables import composite_rows

NONE = Missing("COMPARES_MODELS")


def metrics(share: Estimate | Missing):
    metric = Metric(
        OPS_RATIO, "strict.v1", NONE, share, NONE, ChangeKind.DIFFERENCE, Direction.HIGHER_IS_BETTER, gating=False
    )
    return [metric_to_json(metric)]


def step(name: str, wall_s: float, checkpoints_s: float | None = None, *, reused: bool = False):
    seconds = {"training": wall_s} | ({} if checkpoints_s is None else {"checkpoints": checkpoints_s})
    summary = {"seconds": seconds} if name.startswith("repair") else {}
    return {"name": name, "reused": reused, "usage": {"wall_s": wall_s}, "summary": summary}


STEPS = [
    step("import.model", 99.0),
    step("pool", 99.0),
    step("embed", 4.0),
    step("select", 1.0),
    step("select.control", 1.0),
    step("embed.prompts", 7.0),
    step("repair", 45.0, 5.0),
    step("repair.full", 200.0, 20.0),
]


def test_res_is_the_share_of_the_score_times_how_much_faster_it_came() -> None:
    """0.9 x 200 / (4 + 1 + 45) = 3.6; the ends of its interval likewise. Nothing but selection and training counts."""
    found = efficiency(metrics(Estimate(0.9, 0.8, 1.05, 40)), STEPS)

    assert found["res"] == pytest.approx({"value": 3.6, "low": 3.2, "high": 4.2, "n": 40})


def test_res_without_checkpoints_takes_their_seconds_off_both_trainings() -> None:
    """0.9 x (200 - 20) / (4 + 1 + 45 - 10) = 4.05."""
    changed = [step("repair", 45.0, 10.0) if each["name"] == "repair" else each for each in STEPS]

    found = efficiency(metrics(Estimate(0.9, 0.8, 1.05, 40)), changed)

    assert found["res_without_checkpoints"]["value"] == pytest.approx(4.05)


def test_a_training_that_wrote_no_checkpoint_spent_no_time_on_them() -> None:
    """180 / (4 + 1 + 45) = 3.6."""
    changed = [step("repair", 45.0) if each["name"] == "repair" else each for each in STEPS]

    found = efficiency(metrics(Estimate(1.0, 1.0, 1.0, 40)), changed)

    assert found["times"]["repair_checkpoints_s"] == 0.0
    assert found["res_without_checkpoints"]["value"] == pytest.approx(3.6)


def test_reused_steps_count_at_what_they_had_cost() -> None:
    reused = [{**each, "reused": True} for each in STEPS]
    share = metrics(Estimate(0.9, 0.8, 1.05, 40))

    assert efficiency(share, reused)["res"] == efficiency(share, STEPS)["res"]


def test_repair_with_the_whole_pool_is_its_own_reference() -> None:
    """200 s against 10 + 200 s."""
    steps = [step("select", 10.0), step("repair", 200.0, 0.0)]

    found = efficiency(metrics(Estimate(1.0, 1.0, 1.0, 9)), steps, is_full=True)

    assert found["res"]["value"] == pytest.approx(200 / 210)


@pytest.mark.parametrize(
    ("share", "without", "reason"),
    [
        (Missing("NO_FULL_ARM"), (), "NO_FULL_ARM"),
        (Missing("ZERO_BASELINE"), (), "ZERO_BASELINE"),
        (Estimate(0.9, 0.8, 1.0, 9), ("repair.full",), "NO_TIME"),
        (Estimate(0.9, 0.8, 1.0, 9), ("embed", "select"), "NO_TIME"),
        (None, (), "NO_FULL_ARM"),
    ],
)
def test_res_that_cannot_be_told_is_null_with_its_reason(share, without, reason) -> None:
    measured = () if share is None else metrics(share)

    found = efficiency(measured, [each for each in STEPS if each["name"] not in without])

    assert found["res"] is None
    assert found["res_reason"] == reason
    assert found["res_without_checkpoints"] is None


def test_trainings_that_did_not_time_their_parts_leave_only_the_second_form_out() -> None:
    untimed = [{**each, "summary": {}} for each in STEPS]

    found = efficiency(metrics(Estimate(0.9, 0.8, 1.0, 9)), untimed)

    assert found["res"] is not None
    assert found["res_without_checkpoints_reason"] == "NO_CHECKPOINT_TIME"


def test_composites_without_a_full_arm_say_so_in_words() -> None:
    measured = metrics(Missing("NO_FULL_ARM"))

    rows = composite_rows(read_metrics(measured), efficiency(measured, STEPS))

    assert [row.title for row in rows if "reconstructed" not in row.title] == []
    assert {row.missing for row in rows} == {"needs an arm repaired on the whole pool, which was not run"}
    assert {row.value for row in rows} == {"–"}
