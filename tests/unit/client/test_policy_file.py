"""A policy file: the published schema, the parser and the contract accept the same, and faults are named by path."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_repair.client import InvalidRequest, load_policy, policy_schema
from llm_repair.core.errors import InvalidFields
from llm_repair.core.policy import GatePolicy
from llm_repair.rpc.codec import decode
from llm_repair.v1 import coordinator_pb2 as pb

README = Path(__file__).parents[3] / "clients" / "ci" / "README.md"
NUMBERS = st.one_of(
    st.sampled_from([0, 0.5, 0.50001, 0.95, 1, 1.5, -0.1, 99, 100, 100.0, 100.5, 1 << 20, (1 << 20) + 1, 10**400]),
    st.sampled_from([True, None, "0.95", [], {}]),
)
RULES = st.one_of(
    st.fixed_dictionaries({}, optional={"bound": NUMBERS, "margin": NUMBERS}), st.sampled_from([None, 1, "bound", []])
)
CRITERIA = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.sampled_from(["toxicity.mean", "", 1, None]),
        "absolute": RULES,
        "change": RULES,
        "non_inferiority": RULES,
        "on_missing": st.sampled_from(
            ["ON_MISSING_FAIL", "ON_MISSING_INCONCLUSIVE", "ON_MISSING_UNSPECIFIED", 1, None]
        ),
        "slice": st.sampled_from(["CRITERION_SLICE_ALL", "CRITERION_SLICE_EACH_GROUP", "EACH_GROUP", True]),
        "surplus": st.just(1),
    },
)
LOOKS = st.fixed_dictionaries(
    {}, optional={"first_look_prompts": NUMBERS, "look_every_prompts": NUMBERS, "first": NUMBERS}
)
POLICIES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "criteria": st.one_of(st.lists(CRITERIA, max_size=2), st.just({})),
            "confidence": NUMBERS,
            "sequential": st.one_of(LOOKS, st.sampled_from([None, True])),
            "nonInferiority": st.just({}),
        },
    ),
    st.sampled_from([[], "criteria", 1]),
)


def parser_accepts(folder: Path, content: object) -> bool:
    path = folder / "policy.json"
    path.write_text(json.dumps(content))
    try:
        load_policy(path)
    except InvalidRequest:
        return False
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=POLICIES)
def test_the_parser_accepts_exactly_what_the_published_schema_does(content: object, tmp_path: Path) -> None:
    by_schema = jsonschema.Draft202012Validator(policy_schema()).is_valid(content)

    assert parser_accepts(tmp_path, content) is by_schema


def test_the_published_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(policy_schema())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=POLICIES)
def test_what_the_parser_accepts_the_server_accepts_too(content: dict[str, object], tmp_path: Path) -> None:
    """But for what a sequence asks of the criteria beside it, which no schema of this kind can say."""
    if isinstance(content, dict):
        content.pop("sequential", None)
    if not parser_accepts(tmp_path, content):
        return

    decode(load_policy(tmp_path / "policy.json"), GatePolicy)


def fields_of(schema: dict[str, object]) -> set[str]:
    return set(schema["properties"])


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (pb.GatePolicy, ()),
        (pb.Criterion, ("$defs", "criterion")),
        (pb.AbsoluteRule, ("$defs", "bound")),
        (pb.ChangeRule, ("$defs", "bound")),
        (pb.NonInferiorityRule, ("$defs", "criterion", "properties", "non_inferiority")),
        (pb.SequentialGate, ("$defs", "sequential")),
    ],
)
def test_the_schema_has_every_field_of_the_contract(message: type, place: tuple[str, ...]) -> None:
    schema = policy_schema()
    for name in place:
        schema = schema[name]

    assert fields_of(schema) == {field.name for field in message.DESCRIPTOR.fields}
    assert all("description" in field for field in schema["properties"].values())


@pytest.mark.parametrize("name", ["OnMissing", "CriterionSlice"])
def test_the_schema_has_every_choice_of_the_contract(name: str) -> None:
    field = {"OnMissing": "on_missing", "CriterionSlice": "slice"}[name]
    choices = pb.DESCRIPTOR.enum_types_by_name[name].values[1:]

    assert policy_schema()["$defs"]["criterion"]["properties"][field]["enum"] == [choice.name for choice in choices]


@pytest.mark.parametrize(
    ("field", "low", "high"), [("first_look_prompts", 100, 1 << 20), ("look_every_prompts", 1, 1 << 20)]
)
def test_the_ranges_of_the_schema_are_those_of_the_server(field: str, low: int, high: int) -> None:
    bounds = policy_schema()["$defs"]["sequential"]["properties"][field]
    assert (bounds["minimum"], bounds["maximum"]) == (low, high)

    for value, allowed in ((low - 1, False), (low, True), (high, True), (high + 1, False)):
        looks = pb.SequentialGate(**{field: value})
        try:
            decode(pb.GatePolicy(sequential=looks), GatePolicy)
            accepted = True
        except InvalidFields:
            accepted = False
        assert accepted is allowed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("criteria: [{metric: a, change: {}, absolute: {}}]", "criteria[0]: must have exactly one of absolute, change"),
        (
            "criteria: [{metric: a}]",
            "criteria[0]: must have exactly one of absolute, change, non_inferiority, and has none",
        ),
        ("criteria: [{change: {bound: 0}}]", "criteria[0].metric: is required"),
        ("criteria: [{metric: a, change: {bund: 0}}]", "criteria[0].change.bund: is not known here; there are: bound"),
        ("criteria: [{metric: a, change: {bound: low}}]", "criteria[0].change.bound: must be a number"),
        ("criteria: [{metric: a, change: {bound: .nan}}]", "criteria[0].change.bound: must be a number"),
        (
            "criteria: [{metric: a, change: {}, slice: EACH_GROUP}]",
            "criteria[0].slice: must be one of CRITERION_SLICE_ALL",
        ),
        ("criteria: {metric: a}", "criteria: must be a list"),
        ("confidence: 1", "confidence: must be below 1, is 1"),
        ("sequential: {first_look_prompts: 99}", "sequential.first_look_prompts: must be at least 100, is 99"),
        ("sequential: {look_every_prompts: 2.5}", "sequential.look_every_prompts: must be a whole number, is 2.5"),
        ("sequential:", "sequential: is empty; write {} for a mapping with all its defaults"),
        ("- criteria", "must be a mapping with keys of: criteria, confidence, sequential"),
        ("criteria: []\ncriteria: []", "'criteria' is there twice in line 2"),
    ],
)
def test_a_fault_is_named_with_its_path_and_what_would_be_right(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gate.yaml").write_text(text)

    with pytest.raises(InvalidRequest) as caught:
        load_policy(tmp_path / "gate.yaml")

    assert said in str(caught.value)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text('{"confidence": 2, "criteria": [{}], "extra": 1}')

    with pytest.raises(InvalidRequest) as caught:
        load_policy(tmp_path / "gate.json")

    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["confidence", "criteria[0].metric", "criteria[0]", "extra"]


def test_a_key_that_is_there_twice_in_json_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text('{"criteria": [{"metric": "a", "change": {}, "metric": "b"}]}')

    with pytest.raises(InvalidRequest, match="'metric' is there twice"):
        load_policy(tmp_path / "gate.json")


def test_the_examples_of_the_readme_are_policies(tmp_path: Path) -> None:
    blocks = README.read_text(encoding="utf-8").split("```yaml\n")[1:]
    policies = [block.partition("```")[0] for block in blocks]
    policies = [text for text in policies if "criteria" in (yaml.safe_load(text) or {})]

    assert len(policies) >= 3
    for text in policies:
        (tmp_path / "gate.yaml").write_text(text)
        decode(load_policy(tmp_path / "gate.yaml"), GatePolicy)
