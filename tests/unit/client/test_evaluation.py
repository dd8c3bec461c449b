from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format

from llm_repair.client import InvalidRequest, default_evaluation, evaluation, evaluation_spec, repair_spec
from llm_repair.core.evaluation import Evaluation
from llm_repair.rpc.codec import decode
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2

DEMO = Path(__file__).parents[3] / "docs" / "demo.yaml"


def test_a_measurement_sets_exactly_what_was_said():
    made = evaluation(
        prompts="file:/p.jsonl@0.8:",
        judges=["profanity", "detoxify=file:/detoxify"],
        corpora={"wiki": "file:/w.jsonl:wikitext", "news": "hf:org/news@main@:0.5"},
        cloze_sets={"lambada": "file:/l.jsonl"},
        bias_pairs={"crows": "file:/c.jsonl"},
        prompt_sets={"benign": "file:/b.jsonl"},
        calibration="file:/labelled.jsonl",
        draws=4,
        engine="vllm",
        dtype="bfloat16",
    )

    assert made.prompts.slice.start == 0.8
    assert [each.WhichOneof("kind") for each in made.judges] == ["profanity", "detoxify"]
    assert [(each.name, each.texts.reference, each.layout) for each in made.corpora] == [
        ("wiki", "file:/w.jsonl", evaluation_pb2.CORPUS_LAYOUT_WIKITEXT),
        ("news", "hf:org/news@main", evaluation_pb2.CORPUS_LAYOUT_UNSPECIFIED),
    ]
    assert made.corpora[1].texts.slice.end == 0.5
    assert (made.cloze_sets[0].name, made.cloze_sets[0].texts.reference) == ("lambada", "file:/l.jsonl")
    assert (made.bias_pairs[0].name, made.bias_pairs[0].pairs.reference) == ("crows", "file:/c.jsonl")
    assert (made.prompt_sets[0].name, made.prompt_sets[0].prompts.reference) == ("benign", "file:/b.jsonl")
    assert made.calibration.reference == "file:/labelled.jsonl"
    assert made.protocol.strict.draws == 4
    assert (made.engine.kind, made.engine.weights) == (
        evaluation_pb2.ENGINE_KIND_VLLM,
        evaluation_pb2.WEIGHT_FORMAT_BFLOAT16,
    )


def test_what_is_not_given_stays_unset():
    assert evaluation() == evaluation_pb2.Evaluation()


@pytest.mark.parametrize(
    ("typed", "reference", "layout"),
    [
        ("file:/w.jsonl", "file:/w.jsonl", "UNSPECIFIED"),
        ("file:/w.jsonl:wikitext", "file:/w.jsonl", "WIKITEXT"),
        ("file:/w.jsonl@0:0.5:running-text", "file:/w.jsonl", "RUNNING_TEXT"),
        ("hf:org/name@main:documents", "hf:org/name@main", "DOCUMENTS"),
        ("artifact:sha256:" + "0" * 64, "artifact:sha256:" + "0" * 64, "UNSPECIFIED"),
    ],
)
def test_a_layout_is_the_last_part_of_a_reference_if_it_is_one(typed, reference, layout):
    corpus = evaluation(corpora={"wiki": typed}).corpora[0]

    assert corpus.texts.reference == reference
    assert evaluation_pb2.CorpusLayout.Name(corpus.layout) == f"CORPUS_LAYOUT_{layout}"


def test_a_measurement_overrides_what_its_base_has_and_leaves_that_unchanged():
    base = evaluation(prompts="file:/p.jsonl", corpora={"wiki": "file:/w.jsonl"}, draws=4)

    made = evaluation(base=base, corpora={"news": "file:/n.jsonl"}, judges=["hatesonar"])

    assert [corpus.name for corpus in made.corpora] == ["news"]
    assert (made.prompts.reference, made.protocol.strict.draws) == ("file:/p.jsonl", 4)
    assert [corpus.name for corpus in base.corpora] == ["wiki"]


def test_the_paper_protocol_has_one_draw():
    assert evaluation(protocol="paper.v1").protocol.WhichOneof("kind") == "paper"
    with pytest.raises(InvalidRequest, match="one draw"):
        evaluation(protocol="paper.v1", draws=4)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"protocol": "loose.v1"}, "evaluation.protocol"),
        ({"engine": "steam"}, "evaluation.engine"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_unknown_names_are_refused_by_field(arguments, field):
    with pytest.raises(InvalidRequest) as caught:
        evaluation(**arguments)

    assert [violation.field for violation in caught.value.violations] == [field]


def test_an_evaluation_of_a_repairs_file_leaves_out_what_it_would_train_by():
    repair = repair_spec(
        model="file:/m", pool="file:/rows.jsonl", encoder="file:/e", eval_prompts="file:/p.jsonl", method="dapt", seed=7
    )

    spec = evaluation_spec(base=repair, baseline="file:/b")

    assert spec == pb.RepairSpec(
        goal=pb.REPAIR_GOAL_EVALUATION,
        model={"reference": "file:/m"},
        baseline={"reference": "file:/b"},
        evaluation=evaluation(prompts="file:/p.jsonl"),
        seed=7,
    )


def test_an_evaluation_without_a_measurement_makes_the_default_one():
    assert evaluation_spec(model="file:/m").evaluation == default_evaluation()
    own = evaluation(prompts="file:/p.jsonl")
    assert evaluation_spec(model="file:/m", measured_by=own).evaluation == own


def test_the_default_measurement_is_that_of_the_demo_and_one_the_server_understands():
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))["evaluation"]

    assert json_format.ParseDict(demo, evaluation_pb2.Evaluation()) == default_evaluation()
    assert decode(default_evaluation(), Evaluation).protocol.id == "strict.v1-k4-w256"


def test_a_repair_takes_a_whole_measurement_and_its_arguments_override_it():
    whole = evaluation(prompts="file:/p.jsonl", prompt_sets={"benign": "file:/b.jsonl"}, draws=4)

    spec = repair_spec(model="file:/m", measured_by=whole, draws=8, full_control=True)

    assert [each.name for each in spec.evaluation.prompt_sets] == ["benign"]
    assert (spec.evaluation.protocol.strict.draws, spec.full_control) == (8, True)
