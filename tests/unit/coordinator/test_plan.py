"""The step graph: what a repair needs, in which order, and what it shares."""

import dataclasses

import pytest
from planned_requests import RESOLVED, Resolved, names, run

from llm_repair.coordinator.plan import plan
from llm_repair.core import steps
from llm_repair.core.evaluation import ClassifierJudge, Corpus, Evaluation, HatesonarJudge, Judge, ProfanityJudge
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef
from llm_repair.core.repair import (
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    Method,
    RepairMethod,
    RepairPreset,
)
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec, SelfGeneratedPool
from llm_repair.core.selection import (
    Budget,
    CcsStrategy,
    ClusterRandomStrategy,
    El2nStrategy,
    FractionBudget,
    FullStrategy,
    GrandStrategy,
    HardnessFilterStrategy,
    KCenterStrategy,
    LearnabilityStrategy,
    LossStrategy,
    RandomStrategy,
    SapsStrategy,
    Score,
    SelectionStrategy,
    Strategy,
)
from llm_repair.core.steps import step_key

SPEC = RepairSpec(
    model=ModelRef("file:/model"),
    encoder=ModelRef("file:/encoder"),
    pool=SelfGeneratedPool(DatasetRef("file:/prompts.jsonl")),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(SapsStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=Evaluation(
        DatasetRef("file:/eval.jsonl"),
        judges=(Judge(ProfanityJudge(), "sha256:pin"), Judge(HatesonarJudge(ModelRef("file:/sonar")))),
        corpora=(Corpus("wiki", DatasetRef("file:/wiki.jsonl")),),
    ),
)


def test_every_step_runs_after_what_it_needs() -> None:
    order = names(run(SPEC))

    for before, after in [
        ("import.model", "evaluate.base"),
        ("import.judge.hatesonar", "evaluate.base"),
        ("import.corpus.wiki", "evaluate.base"),
        ("import.pool_prompts", "pool"),
        ("pool", "embed"),
        ("import.encoder", "embed"),
        ("embed", "select"),
        ("select", "repair"),
        ("repair", "evaluate.repaired"),
        ("evaluate.repaired", "compare"),
        ("compare", "compare.arms"),
        ("evaluate.control", "compare.arms"),
        ("compare.arms", "report"),
        ("report", "publish"),
    ]:
        assert order.index(before) < order.index(after)


def test_base_and_repaired_model_are_measured_alike() -> None:
    executed = dict(run(SPEC))
    measured = [executed[name] for name in ("evaluate.base", "evaluate.repaired", "evaluate.control")]

    same = [dataclasses.replace(step, model_digest="") for step in measured]  # type: ignore[type-var]

    assert same[0] == same[1] == same[2]
    assert len({step.model_digest for step in measured}) == 3  # type: ignore[union-attr]


def test_the_control_arm_differs_in_its_selection_only() -> None:
    executed = dict(run(SPEC))
    main, control = executed["repair"], executed["repair.control"]

    assert isinstance(main, steps.RepairStep)
    assert isinstance(control, steps.RepairStep)
    assert main.selection_digest != control.selection_digest
    assert dataclasses.replace(main, selection_digest="") == dataclasses.replace(control, selection_digest="")


def test_another_strategy_shares_everything_but_its_own_arm() -> None:
    other = dataclasses.replace(SPEC, selection=SelectionStrategy(SapsStrategy(boundary_fraction=0.5)))

    keys = [{name: step_key(step) for name, step in run(spec)} for spec in (SPEC, other)]

    differing = {name for name in keys[0] if keys[0][name] != keys[1][name]}
    assert differing == {"select", "repair", "evaluate.repaired", "compare", "compare.arms", "publish"}


@pytest.mark.parametrize(
    "spec",
    [
        dataclasses.replace(SPEC, selection=SelectionStrategy(RandomStrategy())),
        dataclasses.replace(SPEC, random_control=False),
    ],
    ids=["random itself", "not wanted"],
)
def test_there_is_no_control_arm_when_it_says_nothing(spec: RepairSpec) -> None:
    assert not [name for name in names(run(spec)) if name.endswith((".control", ".arms"))]


def test_random_selection_needs_no_encoder() -> None:
    spec = dataclasses.replace(SPEC, selection=SelectionStrategy(RandomStrategy()), encoder=None)

    assert not {"import.encoder", "embed"} & set(names(run(spec)))


def test_a_pool_that_the_team_brings_is_imported_and_not_built() -> None:
    spec = dataclasses.replace(SPEC, pool=PoolRows(DatasetRef("file:/rows.jsonl")))

    order = names(run(spec))

    assert "import.pool" in order
    assert "pool" not in order


def test_a_changed_source_is_another_step() -> None:
    changed = Resolved({"file:/model": "sha256:changed"})

    first, second = (
        next(entry.step for entry in plan(SPEC, resolved, {}) if entry.name == "import.model")
        for resolved in (RESOLVED, changed)
    )

    assert first is not None
    assert second is not None
    assert step_key(first) != step_key(second)


ROWS = PoolRows(DatasetRef("file:/rows.jsonl"))
IMPORTED = {"import.pool", "select"}
SELECTED: list[tuple[Strategy, set[str]]] = [
    (RandomStrategy(), set()),
    (FullStrategy(), set()),
    (KCenterStrategy(), {"import.encoder", "embed"}),
    (SapsStrategy(), {"import.encoder", "embed"}),
    (ClusterRandomStrategy(), {"import.encoder", "embed"}),
    (GrandStrategy(), {"import.model", "score.grand"}),
    (El2nStrategy(), {"import.model", "score.el2n"}),
    (LossStrategy(), {"import.model", "score.loss"}),
    (CcsStrategy(), {"import.model", "score.loss"}),
    (CcsStrategy(score=Score.AUM), {"import.model", "score.aum"}),
    (CcsStrategy(score=Score.FORGETTING), {"import.model", "score.forgetting"}),
    (CcsStrategy(score=Score.TOXICITY), {"score.toxicity"}),
    (
        LearnabilityStrategy(then=SelectionStrategy(SapsStrategy())),
        {"import.model", "score.failure_rate", "import.encoder", "embed"},
    ),
    (
        HardnessFilterStrategy(then=SelectionStrategy(LearnabilityStrategy(then=SelectionStrategy(LossStrategy())))),
        {
            *("import.model", "import.encoder", "embed.chosen", "embed.rejected"),
            *("score.instance_hardness", "score.failure_rate", "score.loss"),
        },
    ),
]
"""Strategies, and what they need besides the pool."""


def asked(kind: Strategy, **changes: object) -> RepairSpec:
    """Returns a repair of a team's own pool by a strategy."""
    budget = Budget(FractionBudget(1.0)) if isinstance(kind, FullStrategy) else SPEC.budget
    return dataclasses.replace(SPEC, pool=ROWS, budget=budget, selection=SelectionStrategy(kind), **changes)


@pytest.mark.parametrize(("kind", "needed"), SELECTED, ids=lambda value: type(value).__name__)
def test_a_selection_has_the_steps_its_strategy_needs_and_no_others(kind: Strategy, needed: set[str]) -> None:
    executed = names(run(asked(kind, goal=RepairGoal.SELECTION)))

    assert set(executed) == IMPORTED | needed
    assert executed[-1] == "select"


@pytest.mark.parametrize("kind", [kind for kind, _ in SELECTED], ids=lambda value: type(value).__name__)
def test_the_steps_of_a_selection_are_those_of_the_repair_that_follows_it(kind: Strategy) -> None:
    whole = dict(run(asked(kind)))
    alone = dict(run(asked(kind, goal=RepairGoal.SELECTION)))

    assert {name: step_key(step) for name, step in alone.items()} == {name: step_key(whole[name]) for name in alone}


def test_a_selection_without_a_method_shares_its_scores_with_a_dapt_repair() -> None:
    dapt = RepairMethod(DaptMethod())

    whole = dict(run(asked(GrandStrategy(), method=dapt)))
    alone = dict(run(asked(GrandStrategy(), method=None, goal=RepairGoal.SELECTION)))

    assert step_key(alone["score.grand"]) == step_key(whole["score.grand"])


def test_loss_scores_are_shared_between_methods_and_gradient_norms_are_not() -> None:
    def keys(method: RepairMethod) -> list[str]:
        return [
            step_key(dict(run(asked(kind, method=method)))[name])
            for kind, name in ((LossStrategy(), "score.loss"), (GrandStrategy(), "score.grand"))
        ]

    by_dpo, by_dapt = keys(RepairMethod(DpoMethod(beta=0.3))), keys(RepairMethod(DaptMethod(), epochs=9))

    assert by_dpo[0] == by_dapt[0]
    assert by_dpo[1] != by_dapt[1]


def test_a_score_is_taken_with_the_settings_that_the_methods_preset_stands_for() -> None:
    """The release learns prompts too, of up to 1,024 tokens; both change what a loss is of."""
    paper = RepairMethod(DaptMethod(), preset=RepairPreset.PAPER)

    score = dict(run(asked(LossStrategy(), method=paper)))["score.loss"]

    assert isinstance(score, steps.ScoreStep)
    assert (score.method.prompt_in_loss, score.method.max_tokens) == (True, 1024)


def test_a_proxy_scores_in_the_place_of_the_model() -> None:
    alone = asked(LossStrategy(), proxy=ModelRef("file:/proxy"), model=None, goal=RepairGoal.SELECTION)

    executed = dict(run(alone))

    score = executed["score.loss"]
    assert isinstance(score, steps.ScoreStep)
    assert score.model_digest == step_key(executed["import.proxy"])
    assert "import.model" not in executed


def test_failure_rates_are_those_of_the_model_even_with_a_proxy() -> None:
    kind = LearnabilityStrategy(then=SelectionStrategy(LossStrategy()))

    executed = dict(run(asked(kind, proxy=ModelRef("file:/proxy"), goal=RepairGoal.SELECTION)))

    rate, loss = executed["score.failure_rate"], executed["score.loss"]
    assert isinstance(rate, steps.JudgePoolStep)
    assert rate.samples is not None
    assert rate.samples.model_digest == step_key(executed["import.model"])
    assert isinstance(loss, steps.ScoreStep)
    assert loss.model_digest == step_key(executed["import.proxy"])


def test_every_filter_is_given_its_own_scores_outermost_first() -> None:
    kind = HardnessFilterStrategy(then=SelectionStrategy(LearnabilityStrategy(then=SelectionStrategy(LossStrategy()))))

    executed = dict(run(asked(kind, goal=RepairGoal.SELECTION)))

    select = executed["select"]
    assert isinstance(select, steps.SelectStep)
    assert select.filter_scores_digests == (
        step_key(executed["score.instance_hardness"]),
        step_key(executed["score.failure_rate"]),
    )
    assert select.scores_digest == step_key(executed["score.loss"])


def test_a_selection_from_the_models_own_pairs_imports_the_gating_judge_alone() -> None:
    """The second judge would measure the repaired model, and here there is none."""
    judges = (Judge(HatesonarJudge(ModelRef("file:/sonar"))), Judge(ClassifierJudge(ModelRef("file:/classifier"))))
    spec = dataclasses.replace(
        SPEC,
        selection=SelectionStrategy(RandomStrategy()),
        goal=RepairGoal.SELECTION,
        evaluation=Evaluation(judges=judges),
    )

    executed = names(run(spec))

    assert executed == ["import.pool_prompts", "import.model", "import.judge.hatesonar", "pool", "select"]


@pytest.mark.parametrize("objective", [DaptKlMethod(), IrepairKlMethod()])
def test_a_kl_term_is_taken_on_the_models_own_samples_made_once_for_both_arms(objective: Method) -> None:
    method = RepairMethod(objective, utility_texts=7, utility_tokens=5)

    executed = dict(run(dataclasses.replace(SPEC, method=method, seed=3)))

    sampled, base = executed["utility"], executed["evaluate.base"]
    assert isinstance(sampled, steps.SampleTextsStep)
    assert isinstance(base, steps.EvaluateStep)
    assert (sampled.texts, sampled.max_new_tokens, sampled.seed) == (7, 5, 3)
    assert (sampled.top_p, sampled.temperature) == (0.9, 1.0)
    assert (sampled.model_digest, sampled.engine) == (base.model_digest, base.engine)
    arms = [executed[name] for name in ("repair", "repair.control")]
    assert {step.utility_digest for step in arms if isinstance(step, steps.RepairStep)} == {step_key(sampled)}


def test_a_kl_term_is_taken_on_the_texts_that_are_brought() -> None:
    utility = DatasetRef("file:/texts.jsonl")

    executed = dict(run(dataclasses.replace(SPEC, method=RepairMethod(DaptKlMethod()), utility=utility)))

    brought, repair = executed["import.utility"], executed["repair"]
    assert isinstance(brought, steps.ImportDatasetStep)
    assert isinstance(repair, steps.RepairStep)
    assert brought == steps.ImportDatasetStep(utility, RESOLVED[utility.reference], DatasetKind.TEXTS)
    assert repair.utility_digest == step_key(brought)
    assert "utility" not in executed


@pytest.mark.parametrize("objective", [DpoMethod(), DaptMethod(), IrepairMethod(), KtoMethod()])
def test_without_a_kl_term_there_are_no_utility_texts(objective: Method) -> None:
    executed = dict(run(dataclasses.replace(SPEC, method=RepairMethod(objective))))

    repair = executed["repair"]
    assert isinstance(repair, steps.RepairStep)
    assert repair.utility_digest == ""
    assert not [name for name in executed if "utility" in name]


def test_a_selection_by_a_kl_method_needs_no_utility_texts() -> None:
    spec = dataclasses.replace(
        SPEC, method=RepairMethod(DaptKlMethod()), utility=DatasetRef("file:/texts.jsonl"), goal=RepairGoal.SELECTION
    )

    assert not [name for name in names(run(spec)) if "utility" in name]


@pytest.mark.parametrize(
    ("objective", "kind"), [(KtoMethod(), DatasetKind.UNPAIRED_POOL), (DpoMethod(), DatasetKind.POOL)]
)
def test_only_kto_takes_unpaired_rows(objective: Method, kind: DatasetKind) -> None:
    pool = PoolRows(DatasetRef("file:/rows.jsonl"))

    executed = dict(run(dataclasses.replace(SPEC, pool=pool, method=RepairMethod(objective))))

    brought = executed["import.pool"]
    assert isinstance(brought, steps.ImportDatasetStep)
    assert brought.rows is kind
