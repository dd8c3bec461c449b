"""The model card of a repaired checkpoint: metadata that a hub can index, and a page a person can read.

Numbers, ids and digests only: no prompt and no output is ever quoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from huggingface_hub import EvalResult, ModelCardData

from llm_repair.core.errors import ReferenceInvalid
from llm_repair.core.execution import Json
from llm_repair.core.metrics import ChangeKind, Estimate, Metric, Quantity
from llm_repair.core.references import Scheme, parse_reference

# pyright: reportUnknownMemberType=false
# huggingface_hub annotates its cards in part only.

_OF_NAMED_DATA: Final = ("perplexity", "cloze", "bias", "prompts")
"""Families of metrics whose ids go on with the name of the data they are on."""


def model_card(lineage: Mapping[str, Json], metrics: Sequence[Metric], confidence: float | None) -> str:
    """Returns the text of `README.md`.

    lineage: the content of `repair.json`. confidence: of the intervals, (0, 1); None where the report has none.
    """
    base = lineage["base"]
    assert isinstance(base, Mapping)
    name = str(lineage["repair"] or "repaired model").rpartition("/")[2]
    reference = str(base["reference"])
    results = [_eval_result(metric, confidence) for metric in metrics if isinstance(metric.repaired, Estimate)]
    data = ModelCardData(
        model_name=name,
        base_model=_hub_name(reference),
        license=base.get("license"),  # pyright: ignore[reportArgumentType]  # lineage holds a string or null
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["llm-repair", "detoxification"],
        eval_results=results or None,
    )
    body = [
        f"# {name}",
        f"A repaired checkpoint of `{reference}`. Verdict of its gate: **{lineage['verdict']}**.",
        "## What was measured",
        _measured(metrics, confidence),
        "## How it was made",
        _made(lineage),
        "## What to keep in mind",
        "The numbers hold for the prompts, the sampling protocol and the judges of the report named above. A judge is "
        "a classifier with errors of its own; a lower score is not a guarantee that no output is harmful.",
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n"


def _hub_name(reference: str) -> str | None:
    """Returns `org/name` for a model on the hub; other references mean nothing to a hub's index."""
    try:
        parsed = parse_reference(reference)
    except ReferenceInvalid:
        return None
    return parsed.location if parsed.scheme is Scheme.HF else None


def _eval_result(metric: Metric, confidence: float | None) -> EvalResult:
    repaired = metric.repaired
    assert isinstance(repaired, Estimate)
    family, _, rest = metric.id.partition(".")
    corpus = rest.partition(".")[0] if family in _OF_NAMED_DATA else "evaluation prompts"
    judge = f", judge {metric.judge}" if metric.judge else ""
    level = "" if confidence is None else f" at {confidence:.0%}"
    return EvalResult(
        task_type="text-generation",
        dataset_type=corpus,
        dataset_name=corpus,
        metric_type=metric.id,
        metric_name=f"{_name(metric)} ({metric.protocol}{judge}), interval [{_span(repaired)}]{level}",
        metric_value=repaired.value,
    )


def _measured(metrics: Sequence[Metric], confidence: float | None) -> str:
    level = "their intervals" if confidence is None else f"{confidence:.0%} intervals"
    head = "| metric | judge | protocol | base | repaired | change |\n| --- | --- | --- | --- | --- | --- |"
    rows = [
        f"| {_name(metric)} | {metric.judge or '–'} | {metric.protocol} | {_cell(metric.base)} "
        f"| {_cell(metric.repaired)} | {'×' if metric.change_kind is ChangeKind.RATIO else ''}{_cell(metric.change)} |"
        for metric in metrics
    ]
    note = f"Values with {level}; base and repaired were measured on the same prompts with the same sampling noise."
    return "\n".join([note, "", head, *rows]) if rows else "Nothing was measured."


def _name(metric: Metric) -> str:
    return f"{metric.id} [{metric.slice}]" if metric.slice else metric.id


def _cell(quantity: Quantity) -> str:
    return f"{quantity.value:.4g} [{_span(quantity)}]" if isinstance(quantity, Estimate) else quantity.reason


def _span(estimate: Estimate) -> str:
    return f"{estimate.low:.4g}, {estimate.high:.4g}"


def _made(lineage: Mapping[str, Json]) -> str:
    method, base = lineage["method"], lineage["base"]
    assert isinstance(method, Mapping)
    assert isinstance(base, Mapping)
    objective, trainable = method["objective"], method["trainable"]
    facts = {
        "method": f"{_call(objective)} on {_call(trainable)}",
        "optimizer": f"{method['optimizer']}, peak learning rate {method['learning_rate']}, {method['epochs']} epochs, "
        f"{method['batch_samples']} samples a step",
        "seed": lineage["seed"],
        "base model": base["digest"],
        "pool": lineage["pool_digest"],
        "selection": lineage["selection_digest"],
        "weights": lineage["weights_digest"],
        "report": lineage["report_digest"],
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n\nThe same facts are in `repair.json`."


def _call(alternative: Json) -> str:
    assert isinstance(alternative, Mapping)
    parameters = ", ".join(f"{name} {value}" for name, value in alternative.items() if name != "type")
    return f"{alternative['type']} ({parameters})" if parameters else str(alternative["type"])
