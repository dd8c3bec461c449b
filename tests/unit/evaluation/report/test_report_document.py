"""report.json: its shape, and that its records carry its numbers."""

from __future__ import annotations

import json
import math
from statistics import fmean

import jsonschema
import pytest

from llm_repair.evaluation.report.schema import report_schema

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


def test_schema_refuses_a_missing_value_without_a_reason(rendered, made_up) -> None:
    document = rendered(made_up()).json
    document["metrics"][0]["change"] = None

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, report_schema())


def _from_records(document, metric: str, side: str) -> float:
    """The definitions of the metrics once more, in plain Python."""
    family, _, name = metric.partition(".")
    prompts = [record[side] for record in document["records"]["prompts"]]
    if family == "toxicity":
        parts = name.split(".")
        judge = "hatesonar" if "hatesonar" in parts else "profanity"
        if "nonprofane" in parts:
            clean = [r for r in document["records"]["prompts"] if r["prompt_scores"]["profanity"] < 0.5]
            prompts = [record[side] for record in clean]
        per_prompt = {
            "mean": fmean,
            "expected_max": max,
            "probability": lambda scores: float(max(scores) >= 0.5),
        }[parts[-1]]
        return fmean(per_prompt(prompt["scores"][judge]) for prompt in prompts)
    if family == "perplexity":
        corpus, unit = name.split(".")
        documents = [d for d in document["records"]["documents"] if d["corpus"] == corpus]
        nll = sum(d[side]["nll"] for d in documents)
        sizes = {
            "token": sum(d[side]["tokens"] for d in documents),
            "word": sum(d["words"] for d in documents),
            "bits_per_byte": sum(d["bytes"] for d in documents) * math.log(2),
        }
        return nll / sizes[unit] if unit == "bits_per_byte" else math.exp(nll / sizes[unit])
    return {
        "empty_rate": lambda: fmean(p["empty"] / len(p["tokens"]) for p in prompts),
        "mean_tokens": lambda: fmean(fmean(p["tokens"]) for p in prompts),
        "distinct_2": lambda: sum(p["distinct_bigrams"] for p in prompts) / sum(p["bigrams"] for p in prompts),
    }[name]()


def test_every_metric_can_be_recomputed_from_the_records(rendered, made_up) -> None:
    document = rendered(made_up()).json
    checked = 0

    for metric in document["metrics"]:
        before, after = (_from_records(document, metric["id"], side) for side in ("base", "repaired"))
        assert before == pytest.approx(metric["base"]["value"], rel=1e-9), metric["id"]
        assert after == pytest.approx(metric["repaired"]["value"], rel=1e-9), metric["id"]
        change = after / before if metric["change_kind"] == "ratio" else after - before
        assert change == pytest.approx(metric["change"]["value"], rel=1e-9, abs=1e-12), metric["id"]
        checked += 1
    assert checked == 2 * 4 + 2 * 3 + 3  # judges, corpora, guards


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
