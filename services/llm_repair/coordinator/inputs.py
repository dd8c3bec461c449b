"""What a request brings: every model and data set that takes part, with its field and the step that imports it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llm_repair.core.evaluation import Evaluation, Judge, ProfanityJudge
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef, ModelRole
from llm_repair.core.registry import JUDGES, name_of
from llm_repair.core.repairs import PoolRows, RepairGoal, RepairSpec

PROMPTS_FIELD: Final = "evaluation.prompts"
"""Of the prompts that the gate goes by."""
POOL_FIELD: Final = "pool_rows.rows"
"""Of a pool that the team brings."""
POOL_PROMPTS_FIELD: Final = "self_generated_pool.prompts"


@dataclass(frozen=True)
class ModelInput:
    """A model that takes part."""

    step: str
    """Name of the step that imports it."""
    field: str
    """Path of its reference's owner in the request, below `spec`."""
    source: ModelRef
    role: ModelRole


@dataclass(frozen=True)
class DatasetInput:
    """A data set that takes part."""

    step: str
    field: str
    """Path in the request, below `spec`."""
    source: DatasetRef
    rows: DatasetKind


def dataset_inputs(spec: RepairSpec) -> Iterator[DatasetInput]:
    """Yields the data sets that take part, in the order in which they are imported."""
    pool = spec.pool
    if isinstance(pool, PoolRows):
        yield DatasetInput("import.pool", POOL_FIELD, pool.rows, spec.pool_kind)
    elif pool:
        yield DatasetInput("import.pool_prompts", POOL_PROMPTS_FIELD, pool.prompts, DatasetKind.PROMPTS)
    if spec.measures:
        yield from _measured(spec.evaluation)
    if spec.utility and spec.needs_utility:
        yield DatasetInput("import.utility", "utility", spec.utility, DatasetKind.TEXTS)


def model_inputs(spec: RepairSpec) -> Iterator[ModelInput]:
    """Yields the models that take part, in the order in which they are imported; a judge without a model is left out.

    An encoder takes part in every repair that has one: near duplicates of prompts are looked for by it.
    """
    if spec.model and spec.needs_model:
        yield ModelInput("import.model", "model", spec.model, ModelRole.CAUSAL_LM)
    if spec.baseline and spec.goal is RepairGoal.EVALUATION:
        yield ModelInput("import.baseline", "baseline", spec.baseline, ModelRole.CAUSAL_LM)
    if spec.proxy and spec.needs_proxy:
        yield ModelInput("import.proxy", "proxy", spec.proxy, ModelRole.CAUSAL_LM)
    if spec.encoder and (spec.needs_encoder or spec.goal is RepairGoal.REPAIR):
        yield ModelInput("import.encoder", "encoder", spec.encoder, ModelRole.ENCODER)
    for index, judge in enumerate(spec.judges):
        if source := judge_source(judge):
            name = judge_name(judge)
            field = f"evaluation.judges[{index}].{name}.model"
            yield ModelInput(f"import.judge.{name}", field, source, ModelRole.JUDGE)


def prompt_set_field(index: int) -> str:
    """Returns the field of a set of further prompts."""
    return f"evaluation.prompt_sets[{index}].prompts"


def judge_name(judge: Judge) -> str:
    """Returns the name a judge has in metric ids and step names."""
    return name_of(JUDGES, judge.kind)


def judge_source(judge: Judge) -> ModelRef | None:
    """Returns the reference of the judge's model; None where it is part of a pinned package."""
    return None if isinstance(judge.kind, ProfanityJudge) else judge.kind.model


def _measured(evaluation: Evaluation) -> Iterator[DatasetInput]:
    if evaluation.prompts:
        yield DatasetInput("import.prompts", PROMPTS_FIELD, evaluation.prompts, DatasetKind.PROMPTS)
    for index, corpus in enumerate(evaluation.corpora):
        field, rows = f"evaluation.corpora[{index}].texts", evaluation.rows_of(corpus)
        yield DatasetInput(f"import.corpus.{corpus.name}", field, corpus.texts, rows)
    for index, cloze in enumerate(evaluation.cloze_sets):
        field = f"evaluation.cloze_sets[{index}].texts"
        yield DatasetInput(f"import.cloze.{cloze.name}", field, cloze.texts, DatasetKind.TEXTS)
    for index, bias in enumerate(evaluation.bias_pairs):
        field = f"evaluation.bias_pairs[{index}].pairs"
        yield DatasetInput(f"import.bias.{bias.name}", field, bias.pairs, DatasetKind.SENTENCE_PAIRS)
    for index, prompts in enumerate(evaluation.prompt_sets):
        field = prompt_set_field(index)
        yield DatasetInput(f"import.prompt_set.{prompts.name}", field, prompts.prompts, DatasetKind.PROMPTS)
    if calibration := evaluation.calibration:
        kind = DatasetKind.LABELLED_TEXTS
        yield DatasetInput("import.calibration", "evaluation.calibration", calibration, kind)
