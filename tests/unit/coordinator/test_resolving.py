"""What is refused, and named, before a request is accepted."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.coordinator.repair_book import RepairBook
from llm_repair.coordinator.resolving import resolve
from llm_repair.core.errors import InvalidFields
from llm_repair.core.evaluation import Corpus, DetoxifyJudge, Evaluation, Judge, ProfanityJudge
from llm_repair.core.policy import Criterion, GatePolicy, NonInferiorityRule
from llm_repair.core.presets import resolved_method
from llm_repair.core.probes import BiasPairs, ClozeSet, PromptSet
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import DaptMethod, DpoMethod, Precision, RepairMethod, RepairPreset
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec
from llm_repair.core.selection import (
    Allocation,
    Budget,
    CcsStrategy,
    GrandStrategy,
    LearnabilityStrategy,
    RandomStrategy,
    SamplesBudget,
    SapsStrategy,
    Score,
    SelectionPreset,
    SelectionStrategy,
    Strategy,
    TokensBudget,
)

SECRET = "unspeakable"


@pytest.fixture
def resolver(tmp_path: Path) -> ReferenceResolver:
    return ReferenceResolver((tmp_path,), ("file",), ArtifactStore(f"file://{tmp_path}/store"))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Three pairs of 2 + 1 + 2, 3 + 1 + 2 and 4 + 1 + 2 tokens."""
    prompts = (f"{SECRET} word" + " word" * more for more in range(3))
    pairs = ({"id": f"r{n}", "prompt": text, "chosen": " a", "rejected": " b c"} for n, text in enumerate(prompts))
    return rows(tmp_path / "pool.jsonl", *pairs)


def rows(path: Path, *records: Mapping[str, str]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def selection(pool: Path, kind: Strategy, **changes: object) -> RepairSpec:
    spec = RepairSpec(
        goal=RepairGoal.SELECTION,
        pool=PoolRows(DatasetRef(f"file:{pool}")),
        budget=Budget(SamplesBudget(2)),
        selection=SelectionStrategy(RandomStrategy()),
        model=ModelRef(f"file:{pool.parent}/gone"),
        encoder=ModelRef(f"file:{pool.parent}/gone"),
    )
    return dataclasses.replace(spec, selection=SelectionStrategy(kind), **changes)


@pytest.fixture
def refused(resolver: ReferenceResolver) -> Callable[[RepairSpec], dict[str, str]]:
    """Returns the violations of a request by field; empty if it is fine."""

    def violations(spec: RepairSpec) -> dict[str, str]:
        try:
            resolve(spec, resolver)
        except InvalidFields as error:
            assert SECRET not in error.message
            return {violation.field: violation.description for violation in error.violations}
        return {}

    return violations


Refused = Callable[[RepairSpec], dict[str, str]]


def test_what_does_not_take_part_in_a_selection_is_not_looked_at(pool: Path, refused: Refused) -> None:
    """Model, encoder, prompts and corpora are gone, the judge cannot be had, and a criterion has no metric."""
    gone = DatasetRef(f"file:{pool.parent}/gone.jsonl")
    evaluation = Evaluation(gone, judges=(Judge(DetoxifyJudge()),), corpora=(Corpus("wiki", gone),))
    gate = GatePolicy((Criterion("toxicity.hatesonar.mean", NonInferiorityRule(0.0)),))

    assert refused(selection(pool, RandomStrategy(), evaluation=evaluation, gate=gate)) == {}


def test_what_takes_part_is_named_all_at_once(pool: Path, refused: Refused) -> None:
    """An encoder and a model that are gone, a judge without a model, and more samples than the pool has."""
    kind = LearnabilityStrategy(then=SelectionStrategy(SapsStrategy()))
    evaluation = Evaluation(judges=(Judge(DetoxifyJudge()),))
    spec = selection(pool, kind, evaluation=evaluation, budget=Budget(SamplesBudget(4)))
    spec = dataclasses.replace(spec, encoder=ModelRef("file:/outside"))

    found = refused(spec)

    assert set(found) == {
        "spec.model.reference",
        "spec.encoder.reference",
        "spec.evaluation.judges[0].detoxify.model",
        "spec.budget.samples.samples",
    }
    assert "REFERENCE_NOT_FOUND" in found["spec.model.reference"]
    assert "REFERENCE_NOT_ALLOWED" in found["spec.encoder.reference"]
    assert found["spec.budget.samples.samples"] == "is 4, but the pool has 3 rows"


def test_tokens_must_buy_the_shortest_sample(pool: Path, refused: Refused) -> None:
    def spec(tokens: int) -> RepairSpec:
        return selection(pool, RandomStrategy(), budget=Budget(TokensBudget(tokens)))

    assert refused(spec(5)) == {}
    assert refused(spec(4)) == {"spec.budget.tokens.tokens": "is 4, but the shortest sample of the pool has 5"}


def test_bad_rows_of_the_pool_are_named_though_a_model_is_gone(tmp_path: Path, refused: Refused) -> None:
    bad = rows(tmp_path / "bad.jsonl", {"prompt": SECRET})

    assert set(refused(selection(bad, GrandStrategy()))) == {"spec.model.reference", "spec.pool_rows.rows"}


@pytest.mark.parametrize(
    ("kind", "method", "needed_by"),
    [
        (RandomStrategy(), RepairMethod(DpoMethod()), ""),
        (CcsStrategy(score=Score.TOXICITY), None, "the score TOXICITY"),
        (GrandStrategy(), RepairMethod(DpoMethod()), "the gradient of the method dpo"),
        (GrandStrategy(), RepairMethod(DaptMethod()), ""),
    ],
)
def test_rejected_is_asked_for_where_something_goes_by_it(
    kind: Strategy, method: RepairMethod | None, needed_by: str, tmp_path: Path, refused: Refused
) -> None:
    records = ({"id": f"r{n}", "prompt": SECRET, "chosen": "a"} for n in range(7))
    unpaired = rows(tmp_path / "unpaired.jsonl", *records)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    spec = selection(unpaired, kind, method=method, model=ModelRef(f"file:{tmp_path}/model"))

    found = refused(spec)

    wanted = f"7 rows lack `rejected`, which {needed_by} needs: r0, r1, r2, r3, r4, …"
    assert found == ({"spec.pool_rows.rows": wanted} if needed_by else {})


def test_a_preset_is_written_out_and_nothing_may_stand_beside_it(
    pool: Path, refused: Refused, resolver: ReferenceResolver
) -> None:
    (pool.parent / "encoder").mkdir()
    (pool.parent / "encoder" / "config.json").write_text("{}")
    paper = SelectionStrategy(SapsStrategy(), preset=SelectionPreset.PAPER)
    beside = SelectionStrategy(SapsStrategy(clusters=4), preset=SelectionPreset.PAPER)
    spec = selection(pool, RandomStrategy(), encoder=ModelRef(f"file:{pool.parent}/encoder"))

    resolved = resolve(dataclasses.replace(spec, selection=paper), resolver).spec.selection

    assert resolved == SelectionStrategy(SapsStrategy(allocation=Allocation.EQUAL))
    assert set(refused(dataclasses.replace(spec, selection=beside))) == {"spec.strategy.preset"}


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        (RepairMethod(DpoMethod()), Precision.BFLOAT16),
        (RepairMethod(DpoMethod(), precision=Precision.FLOAT32), Precision.FLOAT32),
        (RepairMethod(DpoMethod(), preset=RepairPreset.PAPER), Precision.FLOAT32),
    ],
)
async def test_a_training_has_the_precision_of_the_deployment_unless_the_request_or_its_preset_names_one(
    pool: Path, resolver: ReferenceResolver, method: RepairMethod, precision: Precision
) -> None:
    (pool.parent / "encoder").mkdir()
    (pool.parent / "encoder" / "config.json").write_text("{}")
    (pool.parent / "gone").symlink_to("encoder")
    book = RepairBook(None, resolver, None, None, None, precision=Precision.BFLOAT16)  # type: ignore[arg-type]

    record = await book.prepare("team", selection(pool, GrandStrategy(), method=method))

    assert record.spec.method is not None
    assert resolved_method(record.spec.method).precision is precision


def test_a_preset_inside_a_filter_is_named_by_its_whole_path(pool: Path, refused: Refused) -> None:
    inside = SelectionStrategy(SapsStrategy(clusters=4), preset=SelectionPreset.PAPER)
    spec = selection(pool, LearnabilityStrategy(then=inside), evaluation=Evaluation(judges=(Judge(ProfanityJudge()),)))

    assert "spec.strategy.learnability.then.preset" in refused(spec)


def test_everything_an_evaluation_is_given_is_looked_at(tmp_path: Path, refused: Refused) -> None:
    gone = DatasetRef(f"file:{tmp_path}/gone.jsonl")
    evaluation = Evaluation(
        gone,
        judges=(Judge(ProfanityJudge()),),
        corpora=(Corpus("wiki", gone),),
        cloze_sets=(ClozeSet("lambada", DatasetRef(f"file:{tmp_path}/no_cloze.jsonl")),),
        bias_pairs=(BiasPairs("crows", DatasetRef("file:/outside.jsonl")),),
        prompt_sets=(PromptSet("benign", DatasetRef(f"file:{tmp_path}/no_prompts.jsonl")),),
        calibration=DatasetRef(f"file:{tmp_path}/no_labels.jsonl"),
    )
    spec = RepairSpec(
        goal=RepairGoal.EVALUATION,
        model=ModelRef(f"file:{tmp_path}/model"),
        baseline=ModelRef(f"file:{tmp_path}/baseline"),
        evaluation=evaluation,
        gate=GatePolicy((Criterion("toxicity.hatesonar.mean", NonInferiorityRule(0.0)),)),
    )

    found = refused(spec)

    assert set(found) == {
        "spec.model.reference",
        "spec.baseline.reference",
        "spec.evaluation.prompts.reference",
        "spec.evaluation.corpora[0].texts.reference",
        "spec.evaluation.cloze_sets[0].texts.reference",
        "spec.evaluation.bias_pairs[0].pairs.reference",
        "spec.evaluation.prompt_sets[0].prompts.reference",
        "spec.evaluation.calibration.reference",
        "spec.gate.criteria[0].metric",
    }
    assert "REFERENCE_NOT_ALLOWED" in found["spec.evaluation.bias_pairs[0].pairs.reference"]
