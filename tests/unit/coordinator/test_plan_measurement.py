"""What is planned to measure models: evaluations without a repair, further probes, controls, sequences, overlap."""

import dataclasses

import pytest
from planned_requests import names, run

from llm_repair.core import steps
from llm_repair.core.evaluation import (
    Corpus,
    CorpusLayout,
    Evaluation,
    HatesonarJudge,
    Judge,
    PaperProtocol,
    ProfanityJudge,
    Protocol,
)
from llm_repair.core.overlap import NEAR_DUPLICATE_FROM
from llm_repair.core.policy import ChangeRule, Criterion, GatePolicy, NonInferiorityRule, SequentialGate
from llm_repair.core.probes import BiasPairs, ClozeSet, PromptSet
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef
from llm_repair.core.repair import DpoMethod, RepairMethod
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec
from llm_repair.core.selection import (
    Budget,
    FractionBudget,
    FullStrategy,
    RandomStrategy,
    SapsStrategy,
    SelectionStrategy,
    TextView,
)
from llm_repair.core.steps import step_key

MEASURED = Evaluation(
    DatasetRef("file:/eval.jsonl"),
    judges=(Judge(ProfanityJudge(), "sha256:pin"), Judge(HatesonarJudge(ModelRef("file:/sonar")))),
    corpora=(Corpus("wiki", DatasetRef("file:/wiki.jsonl"), CorpusLayout.WIKITEXT),),
    cloze_sets=(ClozeSet("lambada", DatasetRef("file:/lambada.jsonl")),),
    bias_pairs=(BiasPairs("crows", DatasetRef("file:/crows.jsonl")),),
    prompt_sets=(PromptSet("benign", DatasetRef("file:/benign.jsonl")),),
    calibration=DatasetRef("file:/labelled.jsonl"),
)
ALONE = RepairSpec(goal=RepairGoal.EVALUATION, model=ModelRef("file:/model"), evaluation=MEASURED)
AGAINST = dataclasses.replace(ALONE, baseline=ModelRef("file:/baseline"))
REPAIR = RepairSpec(
    model=ModelRef("file:/model"),
    encoder=ModelRef("file:/encoder"),
    pool=PoolRows(DatasetRef("file:/rows.jsonl")),
    budget=Budget(FractionBudget(0.25)),
    selection=SelectionStrategy(SapsStrategy()),
    method=RepairMethod(DpoMethod()),
    evaluation=MEASURED,
)
DATA = {
    "import.prompts": DatasetKind.PROMPTS,
    "import.corpus.wiki": DatasetKind.LINES,
    "import.cloze.lambada": DatasetKind.TEXTS,
    "import.bias.crows": DatasetKind.SENTENCE_PAIRS,
    "import.prompt_set.benign": DatasetKind.PROMPTS,
    "import.calibration": DatasetKind.LABELLED_TEXTS,
}


def evaluation(executed: dict[str, steps.Step], name: str) -> steps.EvaluateStep:
    found = executed[name]
    assert isinstance(found, steps.EvaluateStep)
    return found


def comparison(executed: dict[str, steps.Step], name: str) -> steps.CompareStep:
    found = executed[name]
    assert isinstance(found, steps.CompareStep)
    return found


def test_a_model_alone_is_imported_measured_and_reported_and_nothing_else() -> None:
    executed = run(ALONE)

    assert names(executed) == [
        *DATA,
        "import.model",
        "import.judge.hatesonar",
        "evaluate.repaired",
        "compare",
        "report",
    ]
    compare = comparison(dict(executed), "compare")
    assert compare.base_evaluation_digest == ""
    assert compare.repaired_evaluation_digest == step_key(dict(executed)["evaluate.repaired"])


def test_a_baseline_takes_the_place_of_the_base_model() -> None:
    executed = dict(run(AGAINST))

    base, model = evaluation(executed, "evaluate.base"), evaluation(executed, "evaluate.repaired")
    assert base.model_digest == step_key(executed["import.baseline"])
    assert model.model_digest == step_key(executed["import.model"])
    assert dataclasses.replace(base, model_digest="") == dataclasses.replace(model, model_digest="")
    assert comparison(executed, "compare").base_evaluation_digest == step_key(base)


def test_every_kind_of_data_is_imported_as_what_it_is_read_as() -> None:
    executed = dict(run(ALONE))

    imported = {name: executed[name] for name in DATA}
    assert {name: step.rows for name, step in imported.items() if isinstance(step, steps.ImportDatasetStep)} == DATA
    measured = evaluation(executed, "evaluate.repaired")
    assert measured.corpora == (
        steps.CorpusArtifact("wiki", step_key(imported["import.corpus.wiki"]), CorpusLayout.WIKITEXT),
    )
    for field, name, step in (
        ("cloze_sets", "lambada", "import.cloze.lambada"),
        ("bias_pairs", "crows", "import.bias.crows"),
        ("prompt_sets", "benign", "import.prompt_set.benign"),
    ):
        assert getattr(measured, field) == (steps.DatasetArtifact(name, step_key(imported[step])),)
    assert measured.calibration_digest == step_key(imported["import.calibration"])


def test_the_paper_protocol_reads_every_corpus_as_running_text() -> None:
    documents = dataclasses.replace(MEASURED, corpora=(Corpus("wiki", DatasetRef("file:/wiki.jsonl")),))

    def rows(protocol: Protocol) -> DatasetKind:
        step = dict(run(dataclasses.replace(ALONE, evaluation=dataclasses.replace(documents, protocol=protocol))))
        imported = step["import.corpus.wiki"]
        assert isinstance(imported, steps.ImportDatasetStep)
        return imported.rows

    assert rows(Protocol()) is DatasetKind.TEXTS
    assert rows(Protocol(PaperProtocol())) is DatasetKind.LINES


def test_the_base_evaluation_of_a_repair_is_that_of_the_model_measured_alone() -> None:
    repair, alone = dict(run(REPAIR)), dict(run(ALONE))

    assert step_key(repair["evaluate.base"]) == step_key(alone["evaluate.repaired"])


@pytest.mark.parametrize("model", ["file:/model", "file:/copy"])
def test_the_same_model_twice_is_measured_once_and_compared_all_the_same(model: str) -> None:
    twice = dataclasses.replace(AGAINST, baseline=ModelRef(model))
    executed = dict(run(twice))

    same = model == "file:/model"
    assert (step_key(executed["evaluate.base"]) == step_key(executed["evaluate.repaired"])) is same
    assert "compare" in executed


def test_the_full_control_differs_in_its_selection_only_and_every_comparison_refers_to_it() -> None:
    executed = dict(run(dataclasses.replace(REPAIR, full_control=True)))

    selected, main, full = executed["select.full"], executed["repair"], executed["repair.full"]
    assert isinstance(selected, steps.SelectStep)
    assert isinstance(main, steps.RepairStep)
    assert isinstance(full, steps.RepairStep)
    assert selected.strategy == SelectionStrategy(FullStrategy())
    assert selected.budget == Budget(FractionBudget(1.0))
    assert dataclasses.replace(main, selection_digest="") == dataclasses.replace(full, selection_digest="")
    reference = step_key(executed["evaluate.full"])
    for name in ("compare", "compare.control", "compare.full"):
        assert comparison(executed, name).full_evaluation_digest == reference
    assert comparison(executed, "compare.arms").full_evaluation_digest == ""


def test_without_a_full_control_no_comparison_has_a_full_reference() -> None:
    executed = dict(run(REPAIR))

    assert not [name for name in executed if name.endswith(".full")]
    assert comparison(executed, "compare").full_evaluation_digest == ""


def test_a_repair_with_the_whole_pool_is_its_own_full_reference() -> None:
    whole = dataclasses.replace(
        REPAIR, selection=SelectionStrategy(FullStrategy()), budget=Budget(FractionBudget(1.0)), full_control=True
    )

    executed = dict(run(whole))

    assert "repair.full" not in executed
    assert comparison(executed, "compare").full_evaluation_digest == step_key(executed["evaluate.repaired"])


SEQUENCE = GatePolicy(
    criteria=(
        Criterion("toxicity.mean", NonInferiorityRule(0.02)),
        Criterion("perplexity.wiki.token", NonInferiorityRule(0.05)),
    ),
    confidence=0.9,
    sequential=SequentialGate(first_look_prompts=120, look_every_prompts=30),
)


@pytest.mark.parametrize("asked", [REPAIR, AGAINST], ids=["repair", "evaluation"])
def test_a_sequence_ends_the_measurement_of_the_model_in_question_alone(asked: RepairSpec) -> None:
    executed = dict(run(dataclasses.replace(asked, gate=SEQUENCE, full_control=asked is REPAIR)))

    base = evaluation(executed, "evaluate.base")
    assert evaluation(executed, "evaluate.repaired").sequential == steps.SequentialStop(
        step_key(base), 0.02, 0.9, 120, 30, bound_is_good=True
    )
    whole = {name for name, step in executed.items() if isinstance(step, steps.EvaluateStep) and not step.sequential}
    assert whole == {"evaluate.base", *(["evaluate.control", "evaluate.full"] if asked is REPAIR else [])}


def test_the_bound_of_a_sequence_is_that_of_its_criterion() -> None:
    falling = dataclasses.replace(SEQUENCE, criteria=(Criterion("toxicity.mean", ChangeRule(-0.01)),))

    executed = dict(run(dataclasses.replace(REPAIR, gate=falling)))

    stop = evaluation(executed, "evaluate.repaired").sequential
    assert stop is not None
    assert (stop.bound, stop.bound_is_good) == (-0.01, False)


def test_near_duplicates_are_looked_for_where_there_is_an_encoder() -> None:
    executed = dict(run(REPAIR))

    overlap, pool, prompts = (executed[name] for name in ("overlap", "embed.pool_prompts", "embed.prompts"))
    assert isinstance(pool, steps.EmbedStep)
    assert isinstance(prompts, steps.EmbedStep)
    assert pool.text_view is prompts.text_view is TextView.PROMPT
    assert (pool.pool_digest, prompts.pool_digest) == (
        step_key(executed["import.pool"]),
        step_key(executed["import.prompts"]),
    )
    assert overlap == steps.OverlapStep(
        pool.pool_digest, prompts.pool_digest, NEAR_DUPLICATE_FROM, step_key(pool), step_key(prompts)
    )


def test_an_encoder_that_the_strategy_does_not_need_is_still_used_for_near_duplicates() -> None:
    executed = dict(run(dataclasses.replace(REPAIR, selection=SelectionStrategy(RandomStrategy()))))

    assert {"import.encoder", "embed.pool_prompts"} <= set(executed)
    assert "embed" not in executed


def test_without_an_encoder_equal_prompts_are_looked_for_alone() -> None:
    spec = dataclasses.replace(REPAIR, selection=SelectionStrategy(RandomStrategy()), encoder=None)

    executed = dict(run(spec))

    assert not [name for name in executed if name.startswith("embed")]
    overlap = executed["overlap"]
    assert isinstance(overlap, steps.OverlapStep)
    assert overlap.pool_embeddings_digest == overlap.prompts_embeddings_digest == ""


def test_a_selection_and_an_evaluation_have_nothing_to_compare_prompts_with() -> None:
    selection = dataclasses.replace(REPAIR, goal=RepairGoal.SELECTION, evaluation=Evaluation())

    assert "overlap" not in names(run(selection))
    assert "overlap" not in names(run(AGAINST))
