"""Which requests have a verdict by which policy: a change needs two models, and a sequence allows few criteria."""

import dataclasses

import pytest

from llm_repair.coordinator.dossier import judged
from llm_repair.coordinator.records import RepairRecord
from llm_repair.core.errors import InvalidFields
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.gate import Verdict
from llm_repair.core.metrics import ChangeKind, Direction, Estimate, IntervalKind, Metric, Missing
from llm_repair.core.policy import AbsoluteRule, ChangeRule, Criterion, GatePolicy, SequentialGate
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repairs import RepairGoal, RepairSpec, RepairState

ALONE = RepairSpec(
    goal=RepairGoal.EVALUATION, model=ModelRef("file:/model"), evaluation=Evaluation(DatasetRef("file:/eval.jsonl"))
)
FALLS = Criterion("toxicity.mean", ChangeRule(0.0))
LOW = Criterion("toxicity.mean", AbsoluteRule(0.2))
SEQUENCE = GatePolicy((FALLS,), sequential=SequentialGate())
AGAINST = dataclasses.replace(ALONE, baseline=ModelRef("file:/base"))
IN_SEQUENCE = dataclasses.replace(AGAINST, gate=SEQUENCE)
NONE = Missing("NO_BASELINE")
MEAN = Metric(
    "toxicity.mean",
    "strict.v1",
    base=Estimate(0.3, 0.2, 0.4, 120),
    repaired=Estimate(0.1, 0.05, 0.15, 120),
    change=Estimate(-0.2, -0.3, -0.1, 120),
    change_kind=ChangeKind.DIFFERENCE,
    direction=Direction.LOWER_IS_BETTER,
)


def record(spec: RepairSpec) -> RepairRecord:
    return RepairRecord("projects/default/repairs/a", spec, {}, RepairState.RUNNING, "2026-01-01T00:00:00+00:00")


def test_a_model_alone_has_no_verdict_without_criteria_and_one_by_absolute_bounds() -> None:
    alone = [dataclasses.replace(MEAN, base=NONE, change=NONE)]

    assert judged(record(ALONE), GatePolicy(), alone, 0.95) is None
    by_bound = judged(record(ALONE), GatePolicy((LOW,)), alone, 0.95)
    assert by_bound is not None
    assert by_bound.verdict is Verdict.PASS


def test_a_model_alone_fails_a_criterion_on_a_change_that_is_asked_of_it_later() -> None:
    alone = [dataclasses.replace(MEAN, base=NONE, change=NONE)]

    later = judged(record(ALONE), GatePolicy((FALLS,)), alone, 0.95)

    assert later is not None
    assert later.verdict is Verdict.FAIL


def test_a_comparison_is_judged_by_the_default_policy() -> None:
    """Toxicity falls; empty outputs were not measured, which the default policy counts as a failure."""
    result = judged(record(AGAINST), GatePolicy(), [MEAN], 0.95)

    assert result is not None
    assert [entry.verdict for entry in result.criteria] == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize("criterion", [LOW, Criterion("degeneracy.empty_rate", ChangeRule(0.0))])
def test_what_ended_early_is_not_judged_later_by_what_needs_all_prompts(criterion: Criterion) -> None:
    stopped = [dataclasses.replace(MEAN, interval=IntervalKind.SEQUENCE)]

    with pytest.raises(InvalidFields) as refused:
        judged(record(IN_SEQUENCE), GatePolicy((FALLS, criterion)), stopped, 0.95)
    allowed = judged(record(IN_SEQUENCE), GatePolicy((FALLS,)), stopped, 0.95)

    assert [violation.field for violation in refused.value.violations] == ["criteria[1].metric"]
    assert allowed is not None
    assert allowed.verdict is Verdict.PASS
