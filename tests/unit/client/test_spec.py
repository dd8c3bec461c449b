from __future__ import annotations

import json

import pytest

from llm_repair.client import InvalidRequest, dataset, judge, load_policy, load_spec, repair_spec
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2, trainer_pb2


def test_the_common_case_sets_exactly_what_was_said():
    spec = repair_spec(
        model="hf:org/name@main",
        prompts="file:/p.jsonl@0:0.73",
        eval_prompts="file:/p.jsonl@0.8:",
        corpora={"wiki": "file:/w.jsonl@:0.5"},
        judges=["profanity", "detoxify=file:/detoxify"],
        top_layers=10,
        learning_rate=6e-5,
        draws=4,
        dtype="bfloat16",
        random_control=False,
        seed=7,
    )

    assert spec.model.reference == "hf:org/name@main"
    pool = spec.self_generated_pool.prompts
    assert (pool.reference, pool.slice.start, pool.slice.end) == ("file:/p.jsonl", 0.0, 0.73)
    assert (spec.evaluation.prompts.slice.start, spec.evaluation.prompts.slice.end) == (0.8, 1.0)
    assert (spec.evaluation.corpora[0].name, spec.evaluation.corpora[0].texts.slice.end) == ("wiki", 0.5)
    assert [each.WhichOneof("kind") for each in spec.evaluation.judges] == ["profanity", "detoxify"]
    assert spec.evaluation.judges[1].detoxify.model.reference == "file:/detoxify"
    assert (spec.strategy.WhichOneof("kind"), spec.budget.fraction.fraction) == ("saps", 0.25)
    assert (spec.method.WhichOneof("objective"), spec.method.full.top_layers) == ("dpo", 10)
    assert (spec.method.learning_rate, spec.method.precision) == (6e-5, trainer_pb2.PRECISION_BFLOAT16)
    assert spec.evaluation.protocol.strict.draws == 4
    assert spec.evaluation.engine.weights == evaluation_pb2.WEIGHT_FORMAT_BFLOAT16
    assert (spec.HasField("random_control"), spec.random_control, spec.seed) == (True, False, 7)


def test_what_is_not_given_stays_unset_so_that_the_server_decides():
    spec = repair_spec(model="file:/m")

    assert not spec.HasField("random_control")
    assert not spec.HasField("gate")
    assert not spec.HasField("encoder")
    assert not spec.method.HasField("epochs")
    assert not spec.HasField("evaluation")


def test_a_revision_is_not_mistaken_for_a_slice():
    assert dataset("hf:org/name@v1.2").reference == "hf:org/name@v1.2"
    both = dataset("hf:org/name@v1.2@0.5:1")
    assert (both.reference, both.slice.start) == ("hf:org/name@v1.2", 0.5)


def test_overrides_keep_the_rest_of_the_base_and_leave_it_unchanged():
    base = repair_spec(model="file:/m", strategy="random", samples=10, method="dapt", epochs=3)

    changed = repair_spec(base=base, epochs=5)

    assert (changed.method.epochs, base.method.epochs) == (5, 3)
    assert changed.strategy.WhichOneof("kind") == "random"
    assert changed.budget.samples.samples == 10
    assert changed.method.WhichOneof("objective") == "dapt"


def test_naming_the_strategy_that_a_base_has_keeps_its_parameters():
    base = pb.RepairSpec()
    base.strategy.saps.clusters = 20

    assert repair_spec(base=base, strategy="SAPS").strategy.saps.clusters == 20


def test_the_full_strategy_asks_for_the_whole_pool():
    assert repair_spec(strategy="full").budget.fraction.fraction == 1.0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"strategy": "k-means"}, "strategy"),
        ({"method": "magic"}, "method"),
        ({"judges": ["oracle"]}, "evaluation.judges"),
        ({"judges": ["profanity=file:/x"]}, "evaluation.judges"),
        ({"pool": "file:/a", "prompts": "file:/b"}, "pool"),
        ({"fraction": 0.5, "samples": 3}, "budget"),
        ({"lora": True, "top_layers": 3}, "method"),
        ({"dtype": "int8"}, "dtype"),
        ({"prompts": "file:/p@0.1.2:1"}, "slice"),
    ],
)
def test_contradictions_and_unknown_names_are_refused_by_field(arguments, field):
    with pytest.raises(InvalidRequest) as caught:
        repair_spec(**arguments)

    assert [violation.field for violation in caught.value.violations] == [field]


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(InvalidRequest) as caught:
        repair_spec(strategy="k-means")

    assert caught.value.reason == "UNKNOWN_STRATEGY"
    assert "k_center" in caught.value.metadata["known"]
    assert repair_spec(strategy="k-center").strategy.WhichOneof("kind") == "k_center"


def test_a_zero_budget_reaches_the_server_as_zero_and_not_as_absent():
    assert repair_spec(samples=0).budget.WhichOneof("limit") == "samples"
    assert repair_spec(fraction=0.0).budget.WhichOneof("limit") == "fraction"


def test_a_yaml_file_and_the_same_json_file_give_the_same_request(tmp_path):
    content = {"model": {"reference": "file:/m"}, "strategy": {"saps": {}}, "randomControl": False, "seed": 3}
    (tmp_path / "spec.json").write_text(json.dumps(content))
    (tmp_path / "spec.yaml").write_text(
        "model: {reference: 'file:/m'}\nstrategy:\n  saps: {}\nrandom_control: false\nseed: 3\n"
    )

    assert load_spec(tmp_path / "spec.json") == load_spec(tmp_path / "spec.yaml")


def test_every_unknown_key_is_named_with_its_path(tmp_path):
    (tmp_path / "spec.yaml").write_text(
        "modle: x\nstrategy: {saps: {cluster: 3}}\nevaluation: {corpora: [{name: a}, {nmae: b}]}\n"
    )

    with pytest.raises(InvalidRequest) as caught:
        load_spec(tmp_path / "spec.yaml")

    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["modle", "strategy.saps.cluster", "evaluation.corpora[1].nmae"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("strategy: {random: }", "strategy.random: is empty"),
        ("model: file:/m", "model: must be a mapping"),
        ("evaluation: {corpora: {name: a}}", "evaluation.corpora: must be a list"),
        ("seed: many", "seed"),
        ("- a\n- b", "must be a mapping with keys of RepairSpec"),
        ("a: [", "is not YAML"),
        ("evaluation: {engine: {kind: WARP}}", "WARP"),
    ],
)
def test_other_faults_of_a_file_name_the_place(tmp_path, text, part):
    (tmp_path / "spec.yaml").write_text(text)

    with pytest.raises(InvalidRequest) as caught:
        load_spec(tmp_path / "spec.yaml")

    assert part in str(caught.value)


def test_a_policy_file_gives_its_criteria(tmp_path):
    (tmp_path / "gate.yaml").write_text(
        "confidence: 0.9\ncriteria:\n"
        "  - {metric: toxicity.mean, change: {bound: 0}}\n"
        "  - {metric: perplexity.wiki.token, non_inferiority: {margin: 0.03}, on_missing: ON_MISSING_INCONCLUSIVE}\n"
    )

    policy = load_policy(tmp_path / "gate.yaml")

    assert policy.confidence == 0.9
    assert [each.WhichOneof("rule") for each in policy.criteria] == ["change", "non_inferiority"]
    assert policy.criteria[1].on_missing == pb.ON_MISSING_INCONCLUSIVE


def test_a_judge_needs_no_reference():
    assert judge("hatesonar").hatesonar.model.reference == ""
