"""What a request would take: counted where it can be, from work that is there, and nothing guessed."""

import dataclasses
import math

import pytest
from planned_requests import RESOLVED, ROLES

from llm_repair.coordinator.forecast import Forecast, forecast, present_results
from llm_repair.coordinator.plan import plan
from llm_repair.core.evaluation import Evaluation, Judge, PaperProtocol, ProfanityJudge, Protocol, StrictProtocol
from llm_repair.core.execution import Artifact, StepResult, Usage
from llm_repair.core.policy import GatePolicy, SequentialGate
from llm_repair.core.probes import PromptSet
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DaptKlMethod, DpoMethod, RepairMethod
from llm_repair.core.repairs import RepairGoal, RepairSpec, SelfGeneratedPool
from llm_repair.core.selection import (
    Budget,
    FractionBudget,
    LearnabilityStrategy,
    RandomStrategy,
    SapsStrategy,
    SelectionStrategy,
)
from llm_repair.core.steps import Step, step_key

MEASURED = Evaluation(
    DatasetRef("file:/eval.jsonl"),
    judges=(Judge(ProfanityJudge(), "sha256:pin"),),
    prompt_sets=(PromptSet("benign", DatasetRef("file:/benign.jsonl")),),
    protocol=Protocol(StrictProtocol(draws=4, max_new_tokens=10)),
)
AGAINST = RepairSpec(
    goal=RepairGoal.EVALUATION,
    model=ModelRef("file:/model"),
    baseline=ModelRef("file:/base"),
    evaluation=MEASURED,
)
REPAIR = RepairSpec(
    model=ModelRef("file:/model"),
    encoder=ModelRef("file:/encoder"),
    pool=SelfGeneratedPool(DatasetRef("file:/prompts.jsonl"), draws=8, max_new_tokens=20),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(SapsStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=MEASURED,
)
COUNTS = {"evaluation.prompts": 100, "evaluation.prompt_sets[0].prompts": 50, "self_generated_pool.prompts": 200}


class Committed:
    """Has the results of some kinds of steps, whatever their key; those of `evaluate` took 12 seconds."""

    def __init__(self, spec: RepairSpec, *names: str) -> None:
        self._names = names
        self._results: dict[str, StepResult] = {}
        while fresh := {
            step_key(entry.step): entry
            for entry in plan(spec, RESOLVED, self.by_name(spec))
            if entry.step and entry.name in names and step_key(entry.step) not in self._results
        }:
            self._results |= {key: self._made(key, entry.step) for key, entry in fresh.items() if entry.step}

    def by_name(self, spec: RepairSpec) -> dict[str, StepResult]:
        return present_results(spec, RESOLVED, self.find)[1]

    def find(self, key: str) -> StepResult | None:
        return self._results.get(key)

    def _made(self, key: str, step: Step) -> StepResult:
        usage = Usage(wall_s=12.0) if step.kind == "evaluate" else Usage(wall_s=1.0)
        return StepResult(key, step.kind, {ROLES[step.kind]: Artifact(key, 1)}, {"rows": 30}, usage, {})


def foreseen(spec: RepairSpec, *committed: str, counts: dict[str, int] | None = None) -> Forecast:
    planned, results = present_results(spec, RESOLVED, Committed(spec, *committed).find)
    assert set(results) == set(committed)
    return forecast(spec, planned, results, COUNTS if counts is None else counts)


def test_texts_are_counted_over_both_models_and_all_prompts() -> None:
    """(100 + 50) prompts × 4 draws × 2 models = 1,200 texts of at most 10 tokens."""
    found = foreseen(AGAINST)

    assert (found.prompts, found.samples, found.tokens) == (100, 1200, 12_000)


def test_a_repair_makes_the_texts_of_its_pool_too() -> None:
    """Base, repaired and control: 3 × 600 texts of 10 tokens; the pool: 200 × 8 texts of 20 tokens."""
    found = foreseen(REPAIR)

    assert (found.samples, found.tokens) == (1800 + 1600, 18_000 + 32_000)


def test_what_is_there_already_is_not_made_again() -> None:
    imports = ("import.prompts", "import.prompt_set.benign", "import.baseline")

    found = foreseen(AGAINST, *imports, "evaluate.base", counts={})

    # Both imports say that they have 30 rows: 60 × 4 texts for the one model that is left.
    assert (found.prompts, found.samples) == (30, 240)
    assert (found.known_s, found.unknown_steps) == (12.0, ())


def test_rows_that_nobody_has_counted_leave_the_texts_unknown() -> None:
    found = foreseen(AGAINST, counts={"evaluation.prompts": 100})

    assert (found.prompts, found.samples, found.tokens) == (100, None, None)
    assert found.minimum_detectable_effect is not None


def test_steps_of_which_nothing_is_known_are_named() -> None:
    found = foreseen(REPAIR)

    assert found.known_s == 0
    assert set(found.unknown_steps) == {
        *("evaluate.base", "evaluate.repaired", "evaluate.control", "repair", "repair.control"),
        *("pool", "embed", "embed.pool_prompts", "embed.prompts"),
    }


def test_training_on_the_whole_pool_is_not_like_training_on_a_part_of_it() -> None:
    everything = dataclasses.replace(REPAIR, full_control=True)
    until_trained = (
        "import.prompts",
        "import.pool_prompts",
        "import.model",
        "import.encoder",
        "pool",
        "embed",
        "select",
    )

    found = foreseen(everything, *until_trained, "select.control", "select.full", "repair")

    assert "repair.control" not in found.unknown_steps
    assert "repair.full" in found.unknown_steps
    assert found.known_s == 1.0


def test_the_detectable_effect_follows_from_the_number_of_prompts() -> None:
    """(1.959964 + 0.841621) × 0.16 / sqrt(100): normal quantiles at 0.975, for an interval of 95 %, and at 0.8."""
    found = foreseen(AGAINST)

    assert found.minimum_detectable_effect == pytest.approx((1.959964 + 0.841621) * 0.16 / math.sqrt(100), rel=1e-6)
    assert found.assumed_deviation == 0.16
    assert foreseen(AGAINST, counts={}).minimum_detectable_effect is None


def test_the_detectable_effect_is_that_of_the_confidence_of_the_gate_and_of_no_sequence() -> None:
    """At 99 % the quantile is 2.575829. A sequence ends when it has seen enough, at a number that nobody knows."""
    strict = dataclasses.replace(AGAINST, gate=GatePolicy(confidence=0.99))
    in_sequence = dataclasses.replace(AGAINST, gate=GatePolicy(sequential=SequentialGate()))

    assert foreseen(strict).minimum_detectable_effect == pytest.approx((2.575829 + 0.841621) * 0.016, rel=1e-6)
    assert foreseen(in_sequence).minimum_detectable_effect is None


def test_the_paper_protocol_makes_one_text_a_prompt() -> None:
    paper = dataclasses.replace(AGAINST, evaluation=dataclasses.replace(MEASURED, protocol=Protocol(PaperProtocol())))

    assert (foreseen(paper).samples, foreseen(paper).tokens) == (300, 6000)


def test_texts_of_filters_and_of_a_kl_term_are_counted() -> None:
    """Pool 200 × 8; filter: unknown, for its pool is made; without it the 7 texts of the KL term of 5 tokens each."""
    kl = dataclasses.replace(REPAIR, method=RepairMethod(DaptKlMethod(), utility_texts=7, utility_tokens=5))
    filtered = dataclasses.replace(
        REPAIR, selection=SelectionStrategy(LearnabilityStrategy(then=SelectionStrategy(RandomStrategy())))
    )

    assert (foreseen(kl).samples, foreseen(kl).tokens) == (3400 + 7, 50_000 + 35)
    assert foreseen(filtered).samples is None


def test_a_selection_measures_nothing() -> None:
    found = foreseen(dataclasses.replace(REPAIR, goal=RepairGoal.SELECTION))

    assert (found.prompts, found.minimum_detectable_effect, found.metrics) == (None, None, ())
    assert found.samples == 1600


def test_the_metrics_that_will_be_measured_are_listed() -> None:
    assert {"toxicity.mean", "prompts.benign.refusal_rate"} <= set(foreseen(AGAINST).metrics)
