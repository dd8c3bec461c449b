"""The command lines that fetch a report again and that repeat what it is about, spelt from the recorded request."""

from __future__ import annotations

import json
import re
import shlex
from typing import Final

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at, value_at
from llm_repair.evaluation.report.occasion import Occasion

REQUEST_FILE: Final = "request.json"
"""Where a reader is to save the request."""


def fetch_commands(document: JsonObject) -> tuple[str, ...]:
    """Returns what prints this report and what judges it in CI."""
    name = shlex.quote(text_at(document, "repair", "name"))
    return f"llm-repair report {name} --open", f"llm-repair gate {name}"


def request_text(document: JsonObject) -> str:
    """Returns the whole request as `--spec` reads it, JSON with a line a part; empty where it was not recorded so."""
    request = object_at(document, "repair", "request")
    parts = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in request.items()]
    return "{" + ",\n ".join(parts) + "}" if parts else ""


def repeat_command(document: JsonObject, occasion: Occasion) -> str:
    """Returns what asks for the same again: with the recorded request as a file, or else spelt in flags.

    Flags cover what most requests say and not all that one may; the rest stands under `repair.spec`.
    """
    spec = object_at(document, "repair", "spec")
    if object_at(document, "repair", "request"):
        return f"llm-repair {'repair' if occasion.is_repair else 'evaluate'} --spec {REQUEST_FILE}"
    if not spec:
        return ""
    asked = _repair(spec) if occasion.is_repair else _evaluation(spec)
    flags = (*_evaluation_flags(object_at(spec, "evaluation")), *_flag("--seed", value_at(spec, "seed")))
    return " \\\n  ".join((*asked, *flags))


def _repair(spec: JsonObject) -> list[str]:
    return ["llm-repair repair", *_data_flags(spec), *_training_flags(spec)]


def _evaluation(spec: JsonObject) -> list[str]:
    model = shlex.quote(text_at(spec, "model", "reference"))
    return [f"llm-repair evaluate {model}", *_flag("--compare", text_at(spec, "baseline", "reference"))]


def _data_flags(spec: JsonObject) -> list[str]:
    pool = object_at(spec, "pool")
    self_made = text_at(pool, "type") == "SelfGeneratedPool"
    return [
        *_flag("--model", text_at(spec, "model", "reference")),
        *_flag("--prompts" if self_made else "--pool", _data(object_at(pool, "prompts" if self_made else "rows"))),
        *_flag("--encoder", text_at(spec, "encoder", "reference")),
    ]


def _training_flags(spec: JsonObject) -> list[str]:
    method, limit = object_at(spec, "method"), object_at(spec, "budget", "limit")
    is_lora = text_at(method, "trainable", "type") == "LoraParameters"
    return [
        *_flag("--strategy", _name(text_at(spec, "selection", "kind", "type"), "Strategy")),
        *(flag for kind in ("fraction", "samples", "tokens") for flag in _flag(f"--{kind}", number_at(limit, kind))),
        *_flag("--method", _name(text_at(method, "objective", "type"), "Method")),
        *(["--lora"] if is_lora else _flag("--top-layers", number_at(method, "trainable", "top_layers") or None)),
        *_flag("--learning-rate", number_at(method, "learning_rate")),
        *_flag("--epochs", number_at(method, "epochs")),
        *(["--no-control"] if value_at(spec, "random_control") is False else []),
        *(["--full-control"] if value_at(spec, "full_control") is True else []),
    ]


_DATA_SETS = (
    ("corpora", "--corpus", "texts"),
    ("cloze_sets", "--cloze", "texts"),
    ("bias_pairs", "--bias", "pairs"),
    ("prompt_sets", "--prompt-set", "prompts"),
)
"""Field of the evaluation, its flag, and the field of an entry that holds the data."""


def _evaluation_flags(evaluation: JsonObject) -> list[str]:
    flags = _flag("--eval-prompts", _data(object_at(evaluation, "prompts")))
    for field, flag, data in _DATA_SETS:
        for entry in objects_at(evaluation, field):
            flags += _flag(flag, f"{text_at(entry, 'name')}={_data(object_at(entry, data))}{_layout(entry)}")
    flags += _flag("--calibration", _data(object_at(evaluation, "calibration")))
    for judge in objects_at(evaluation, "judges"):
        name, reference = _name(text_at(judge, "kind", "type"), "Judge"), text_at(judge, "kind", "model", "reference")
        flags += _flag("--judge", f"{name}={reference}" if reference else name)
    protocol = object_at(evaluation, "protocol", "kind")
    flags += _flag("--protocol", "paper.v1" if text_at(protocol, "type") == "PaperProtocol" else "")
    flags += _flag("--draws", number_at(protocol, "draws"))
    engine = text_at(evaluation, "engine", "kind").lower()
    flags += _flag("--engine", "" if engine == "transformers" else engine)
    return flags + _flag("--dtype", text_at(evaluation, "engine", "weights").lower())


def _layout(entry: JsonObject) -> str:
    """Returns `:wikitext` for a corpus whose rows are not documents of their own."""
    layout = text_at(entry, "layout").lower().replace("_", "-")
    return f":{layout}" if layout and layout != "documents" else ""


def _data(dataset: JsonObject) -> str:
    """Returns a data set as the flags take it: `REF` or `REF@start:end`."""
    reference = text_at(dataset, "reference")
    start, end = number_at(dataset, "slice", "start"), number_at(dataset, "slice", "end")
    return reference if start is None or end is None else f"{reference}@{start:g}:{end:g}"


def _name(type_name: str, suffix: str) -> str:
    """Returns `k-center` for `KCenterStrategy`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type_name.removesuffix(suffix)).lower()


def _flag(flag: str, value: Json) -> list[str]:
    if value is None or value == "":
        return []
    written = f"{value:g}" if isinstance(value, float) else str(value)
    return [f"{flag} {shlex.quote(written)}"]
