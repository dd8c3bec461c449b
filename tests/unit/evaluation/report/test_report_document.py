"""report.json: its shape, and that its records carry its numbers."""

from __future__ import annotations

import json

import jsonschema
import pytest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.evaluation.report.document import report_document
from llm_repair.evaluation.report.examples import Texts
from llm_repair.evaluation.report.markdown import render_markdown
from llm_repair.evaluation.report.page import render_page
from llm_repair.evaluation.report.report import example_texts
from llm_repair.evaluation.report.schema import report_schema
from llm_repair.evaluation.report.sentinels import checks, warnings
from llm_repair.evaluation.report.sources import Sources, read_sources

VARIANTS = {
    "repair": {},
    "without control": {"with_control": False},
    "one judge, no map": {"second_judge": False, "with_map": False},
    "no corpus": {"corpora": ()},
    "failing": {"perplexity_ratio": 1.2},
    "tiny": {"effect": 1.0, "prompts": 12, "draws": 1},
    "reused": {"reused": ("evaluate.base", "pool")},
    "full arm": {"with_full": True, "with_blocks": True},
    "labels and groups": {"gating": "detoxify", "labels": True, "groups": True, "probes": True},
    "comparison": {"goal": "COMPARISON", "probes": True},
    "one model": {"goal": "MEASUREMENT", "probes": True, "groups": True},
    "stopped early": {"prompts": 160, "stopped_after": 100, "probes": True},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def document(request, rendered, made_up):
    return rendered(made_up(**request.param)).json


def test_every_report_is_valid_by_the_published_schema(document) -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    jsonschema.validate(document, schema)


def test_every_report_has_every_key_that_the_schema_names(document) -> None:
    assert set(document) == set(report_schema()["properties"])


def test_schema_describes_every_field() -> None:
    undescribed = [path for path, field in _fields(report_schema(), "") if not field.get("description")]

    assert undescribed == []


def _fields(schema, path):
    for name, field in schema.get("properties", {}).items():
        yield f"{path}/{name}", field
    for key, inner in schema.items():
        for place, part in enumerate(inner if isinstance(inner, list) else [inner]):
            if isinstance(part, dict) and key not in ("if", "then", "allOf"):
                yield from _fields(part, f"{path}/{key}[{place}]")


def test_schema_closes_every_record_of_fields_but_those_of_warnings() -> None:
    """A field that it does not describe is refused; warnings have counts of their own kinds."""
    open_ones = [
        path
        for path, part in _objects(report_schema(), "")
        if "properties" in part and part.get("additionalProperties") is not False
    ]

    assert open_ones == ["/properties/warnings/items"]


def _objects(schema, path):
    yield path, schema
    for key, inner in schema.items():
        parts = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        if isinstance(inner, dict) and key not in ("properties", "$defs", "if", "then"):
            yield from _objects(inner, f"{path}/{key}")
        elif key in ("properties", "$defs", "anyOf"):
            for name, part in parts:
                yield from _objects(part, f"{path}/{key}/{name}")


def test_schema_refuses_a_missing_value_without_a_reason(rendered, made_up) -> None:
    document = rendered(made_up()).json
    document["metrics"][0]["change"] = None

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, report_schema())


@pytest.mark.parametrize("place", ["metric", "calibration", "agreement"])
def test_schema_refuses_a_reason_beside_a_value(rendered, made_up, place) -> None:
    document = rendered(made_up()).json
    judges = document["judges"]
    entry = {"metric": document["metrics"][0], "calibration": judges["calibration"][0]}.get(place)
    name = {"metric": "change", "calibration": "auc"}.get(place, "kappa")
    (entry or judges["agreement"][0])[f"{name}_reason"] = "NO_DATA"

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, report_schema())


def test_values_that_are_not_finite_never_reach_the_file(rendered, made_up) -> None:
    def spoil(dossier) -> None:
        dossier["timing"]["wall_s"] = float("nan")
        dossier["pool"]["summary"]["ratio"] = float("inf")

    document = rendered(made_up(change=spoil)).json

    assert document["timing"]["wall_s"] is None
    assert document["pool"]["summary"]["ratio"] is None
    json.dumps(document, allow_nan=False)


def test_environment_keeps_what_all_steps_that_know_it_agree_on(rendered, made_up) -> None:
    def two_services(dossier) -> None:
        for index, step in enumerate(dossier["steps"]):
            own = {"faiss-cpu": "1.15"} if index == 0 else {"numpy": f"2.{index % 2}"}
            step["provenance"] = {"cpu": "AMD EPYC", "attempt": index, "versions": {"torch": "2.13.0", **own}}

    environment = rendered(made_up(change=two_services)).json["provenance"]["environment"]

    assert environment == {"cpu": "AMD EPYC", "versions": {"torch": "2.13.0", "faiss-cpu": "1.15"}}


def test_reused_steps_cost_nothing_but_keep_their_former_cost(rendered, made_up) -> None:
    """evaluate.base took 27.4 s and pool 131.8 s when they ran: 159.2 s together."""
    usage = rendered(made_up(reused=("evaluate.base", "pool"))).json["usage"]
    stages = {stage["stage"]: stage for stage in usage["stages"]}

    assert usage["reused_wall_s"] == pytest.approx(159.2)
    assert stages["pool"]["wall_s"] == 0
    assert stages["pool"]["reused_wall_s"] == pytest.approx(131.8)
    assert usage["set_up_wall_s"] == pytest.approx(29.0)


def test_no_text_of_a_prompt_or_output_is_in_the_document(document, slur) -> None:
    assert slur not in json.dumps(document)


def _checks(document):
    return {check["name"]: check["state"] for check in document["checks"]}


def test_checks_of_a_fair_comparison_hold(rendered, made_up) -> None:
    states = _checks(rendered(made_up()).json)

    assert len(states) == 6
    assert set(states.values()) == {"HOLDS"}


def test_one_model_against_itself_has_equal_weights_and_equal_answers(rendered, made_up) -> None:
    states = _checks(rendered(made_up(goal="COMPARISON", same_model=True)).json)

    assert states["WEIGHTS_DIFFER"] == states["SERVED_WEIGHTS_DIFFER"] == "FAILS"
    assert states["SAME_SAMPLING"] == "HOLDS"


def test_what_was_not_recorded_is_unknown_and_never_said_to_hold() -> None:
    """Two evaluations of an older version, which had neither weights nor sampling nor fingerprint."""
    about = {"protocol": "strict.v1", "prompts_digest": "sha256:ab", "judges": [], "seed": 1, "draws": 3}
    sources = Sources({}, evaluations={"base": about, "repaired": {**about, "prompts_digest": "sha256:cd"}})

    states = {check.name: check.state.value for check in checks(sources)}

    assert states == {
        "WEIGHTS_DIFFER": "UNKNOWN",
        "SERVED_WEIGHTS_DIFFER": "UNKNOWN",
        "SAME_PROMPTS": "FAILS",
        "SAME_SAMPLING": "UNKNOWN",
        "SAME_JUDGES": "HOLDS",
        "SAME_PROTOCOL": "UNKNOWN",
    }


def test_warnings_of_both_sides_stand_once() -> None:
    twice, once = {"kind": "DUPLICATE_PROMPTS", "prompts": 2}, {"kind": "JUDGE_TEXTS_CUT", "texts": 1}
    sources = Sources({}, evaluations={"base": {"warnings": [twice]}, "repaired": {"warnings": [twice, once]}})

    assert warnings(sources) == [{**twice, "side": "both"}, {**once, "side": "repaired"}]


def test_dossier_that_says_nothing_still_gives_three_files() -> None:
    document = report_document(Sources({}))

    html, markdown = render_page(document, Texts()), render_markdown(document)

    jsonschema.validate({**document, "repair": {"name": ""}}, report_schema())
    assert "No per-prompt scores were recorded." in html
    assert markdown.startswith("# Repair")


@pytest.mark.parametrize("goal", ["REPAIR", "COMPARISON"])
def test_any_part_of_a_dossier_may_be_missing(made_up, dossier_of, tmp_path, goal) -> None:
    """Left out one by one, and set to null: what a cancelled or an older job does not have."""
    store = ArtifactStore(f"file://{tmp_path}/store")
    dossier = dossier_of(made_up(goal=goal, prompts=6, draws=1, corpora=("boolq",), second_judge=False), store)
    arm = dossier["arms"][0]

    for key in dossier:
        for broken in ({k: v for k, v in dossier.items() if k != key}, {**dossier, key: None}):
            _check_report(store, broken)
    for key in arm:
        _check_report(store, {**dossier, "arms": [{k: v for k, v in arm.items() if k != key}]})


def _check_report(store, dossier) -> None:
    sources = read_sources(store, store.put_bytes(json.dumps(dossier).encode()).digest)
    document = report_document(sources)
    render_markdown(document)
    assert render_page(document, example_texts(sources)).rstrip().endswith("</html>")
    json.dumps(document, allow_nan=False)
