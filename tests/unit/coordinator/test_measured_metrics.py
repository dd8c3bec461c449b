"""Criteria on what a request will not measure, or could not be decided by, are refused before the work."""

import dataclasses

import pytest

from llm_repair.coordinator.measured_metrics import gate_violations, measured_metrics
from llm_repair.core.evaluation import Corpus, DetoxifyJudge, Evaluation, HatesonarJudge, Judge, ProfanityJudge
from llm_repair.core.policy import (
    AbsoluteRule,
    ChangeRule,
    Criterion,
    CriterionSlice,
    GatePolicy,
    NonInferiorityRule,
    SequentialGate,
)
from llm_repair.core.probes import BiasPairs, ClozeSet, PromptSet
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec
from llm_repair.core.selection import Budget, FractionBudget, RandomStrategy, SelectionStrategy

DATA = DatasetRef("file:/data.jsonl")
PROFANITY, SONAR = Judge(ProfanityJudge()), Judge(HatesonarJudge(ModelRef("file:/sonar")))
EVERYTHING = Evaluation(
    DATA,
    judges=(PROFANITY, SONAR),
    corpora=(Corpus("wiki", DATA),),
    cloze_sets=(ClozeSet("lambada", DATA),),
    bias_pairs=(BiasPairs("crows", DATA),),
    prompt_sets=(PromptSet("benign", DATA),),
)
ALONE = RepairSpec(goal=RepairGoal.EVALUATION, model=ModelRef("file:/model"), evaluation=EVERYTHING)
AGAINST = dataclasses.replace(ALONE, baseline=ModelRef("file:/base"))
REPAIR = RepairSpec(
    model=ModelRef("file:/model"),
    pool=PoolRows(DATA),
    budget=Budget(FractionBudget(0.5)),
    selection=SelectionStrategy(RandomStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=EVERYTHING,
)
FALLS, NOT_MUCH, AT_MOST = ChangeRule(0.0), NonInferiorityRule(0.05), AbsoluteRule(0.1)


def refused(spec: RepairSpec, *criteria: Criterion, sequential: SequentialGate | None = None) -> dict[str, str]:
    """Returns what is wrong with a policy, by field below `spec.gate`."""
    gate = GatePolicy(criteria, sequential=sequential)
    violations = gate_violations(dataclasses.replace(spec, gate=gate))
    return {violation.field.removeprefix("spec.gate."): violation.description for violation in violations}


def test_each_probe_gives_its_own_metrics() -> None:
    bare = {metric.id for metric in measured_metrics(Evaluation(DATA))}
    whole = {metric.id for metric in measured_metrics(EVERYTHING)}

    assert {metric for metric in whole - bare if not metric.startswith("toxicity.hatesonar.")} == {
        *(f"perplexity.wiki.{unit}" for unit in ("token", "word", "bits_per_byte")),
        *("cloze.lambada.accuracy", "cloze.lambada.perplexity"),
        *("bias.crows.preference", "bias.crows.imbalance", "bias.crows.log_ratio"),
        *("prompts.benign.toxicity.mean", "prompts.benign.toxicity.probability", "prompts.benign.refusal_rate"),
    }


@pytest.mark.parametrize("judges", [(PROFANITY,), (SONAR,), (SONAR, PROFANITY)])
def test_the_non_profane_slice_is_measured_whoever_judges(judges: tuple[Judge, ...]) -> None:
    measured = {metric.id: metric for metric in measured_metrics(Evaluation(DATA, judges=judges))}

    assert not measured["toxicity.nonprofane.mean"].shown_only


@pytest.mark.parametrize("spec", [REPAIR, AGAINST], ids=["repair", "evaluation"])
def test_a_criterion_on_what_is_not_measured_is_refused_with_the_list_of_what_is(spec: RepairSpec) -> None:
    """A corpus of another name, a unit that there is not, and a family that there is not."""
    found = refused(
        spec,
        Criterion("toxicity.mean", FALLS),
        Criterion("perplexity.wikitext2.token", NOT_MUCH),
        Criterion("perplexity.wiki.letter", NOT_MUCH),
        Criterion("honesty", AT_MOST),
    )

    assert set(found) == {f"criteria[{index}].metric" for index in (1, 2, 3)}
    of_family = "will not be measured; of perplexity there are wiki.token, wiki.word, wiki.bits_per_byte"
    assert found["criteria[1].metric"] == found["criteria[2].metric"] == of_family
    assert "there are some of toxicity, degeneracy, prompts, perplexity, cloze, bias" in found["criteria[3].metric"]


def test_what_is_said_of_a_criterion_is_short_enough_for_the_wire() -> None:
    """A description is cut at 200 bytes there."""
    unknown = (Criterion(f"{family}.none", AT_MOST) for family in ("toxicity", "degeneracy", "prompts", "none"))
    by_group = Criterion("degeneracy.empty_rate", AT_MOST, slice=CriterionSlice.EACH_GROUP)

    assert all(len(text.encode()) <= 200 for text in refused(REPAIR, *unknown, by_group).values())


def test_shown_metrics_may_not_gate() -> None:
    found = refused(REPAIR, Criterion("toxicity.hatesonar.mean", FALLS), Criterion("reconstructed.ops", AT_MOST))

    assert found["criteria[0].metric"] == "is of a judge that is only shown; the gating judge is profanity"
    assert "reconstructed" in found["criteria[1].metric"]


def test_attributes_are_measured_where_the_gating_judge_has_several_labels() -> None:
    detoxify = dataclasses.replace(EVERYTHING, judges=(Judge(DetoxifyJudge(model=ModelRef("file:/d"))), PROFANITY))
    threats = Criterion("toxicity.attribute.threat", NOT_MUCH)

    assert refused(dataclasses.replace(REPAIR, evaluation=detoxify), threats) == {}
    assert set(refused(REPAIR, threats)) == {"criteria[0].metric"}


@pytest.mark.parametrize(
    ("metric", "has_groups"),
    [
        ("toxicity.mean", True),
        ("toxicity.probability", True),
        ("toxicity.expected_max", False),
        ("degeneracy.empty_rate", False),
        ("perplexity.wiki.token", False),
        ("cloze.lambada.accuracy", False),
        ("bias.crows.preference", True),
        ("prompts.benign.toxicity.mean", True),
    ],
)
def test_a_criterion_for_each_group_is_refused_where_there_can_be_none(metric: str, has_groups: bool) -> None:
    found = refused(REPAIR, Criterion(metric, NOT_MUCH, slice=CriterionSlice.EACH_GROUP))

    assert set(found) == (set() if has_groups else {"criteria[0].slice"})


def test_one_model_alone_can_only_be_held_against_absolute_bounds() -> None:
    found = refused(
        ALONE,
        Criterion("toxicity.mean", AT_MOST),
        Criterion("toxicity.mean", FALLS),
        Criterion("perplexity.wiki.token", NOT_MUCH),
    )

    assert set(found) == {"criteria[1].change", "criteria[2].non_inferiority"}
    assert refused(AGAINST, Criterion("toxicity.mean", FALLS)) == {}


LOOKS = SequentialGate()
CHANGE = Criterion("toxicity.mean", FALLS)


def test_a_sequence_needs_something_to_compare_with() -> None:
    assert set(refused(ALONE, CHANGE, sequential=LOOKS)) == {"sequential", "criteria[0].change"}
    assert refused(AGAINST, CHANGE, sequential=LOOKS) == {}


@pytest.mark.parametrize(
    ("criterion", "may_gate"),
    [
        (Criterion("perplexity.wiki.token", NOT_MUCH), True),
        (Criterion("prompts.benign.toxicity.mean", NOT_MUCH), True),
        (Criterion("bias.crows.preference", NOT_MUCH, slice=CriterionSlice.EACH_GROUP), True),
        (Criterion("toxicity.probability", NOT_MUCH), False),
        (Criterion("degeneracy.empty_rate", NOT_MUCH), False),
        (Criterion("toxicity.mean", AT_MOST), False),
        (Criterion("toxicity.mean", NOT_MUCH, slice=CriterionSlice.EACH_GROUP), False),
    ],
)
def test_beside_a_sequence_only_what_is_measured_whole_may_gate(criterion: Criterion, may_gate: bool) -> None:
    """A fixed-n interval is not valid at a number of prompts that the data chose."""
    assert set(refused(REPAIR, CHANGE, criterion, sequential=LOOKS)) == (set() if may_gate else {"criteria[1].metric"})


def test_beside_a_sequence_the_default_criteria_are_not_enough() -> None:
    """That on empty outputs would be refused when everything has been measured."""
    assert set(refused(REPAIR, sequential=LOOKS)) == {"criteria"}


def test_a_selection_has_no_gate_to_check() -> None:
    selection = dataclasses.replace(REPAIR, goal=RepairGoal.SELECTION)

    assert refused(selection, Criterion("honesty", AT_MOST)) == {}
