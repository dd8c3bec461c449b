"""What a request would take, told before anything runs: from rows that can be counted and results that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llm_repair.coordinator.graph import PlannedStep
from llm_repair.coordinator.inputs import (
    POOL_FIELD,
    POOL_PROMPTS_FIELD,
    PROMPTS_FIELD,
    dataset_inputs,
    prompt_set_field,
)
from llm_repair.coordinator.measured_metrics import measured_metrics
from llm_repair.coordinator.plan import plan
from llm_repair.core import steps
from llm_repair.core.evaluation import StrictProtocol
from llm_repair.core.execution import StepResult
from llm_repair.core.presets import resolved_method
from llm_repair.core.repairs import RepairSpec, SelfGeneratedPool
from llm_repair.core.selection import LearnabilityStrategy, SelectionStrategy
from llm_repair.core.statistics import minimum_detectable_effect
from llm_repair.core.steps import step_key

ASSUMED_DEVIATION: Final = 0.16
"""Standard deviation of the paired differences, as `minimum_detectable_effect` says it was measured."""
_PAPER_NEW_TOKENS: Final = 20
"""Of the one text that `paper.v1` makes for a prompt."""
_LONG: Final = {
    kind.kind
    for kind in (
        steps.BuildPoolStep,
        steps.SampleTextsStep,
        steps.JudgePoolStep,
        steps.EmbedStep,
        steps.ScoreStep,
        steps.RepairStep,
        steps.EvaluateStep,
    )
}
"""Kinds of steps that may take minutes and more."""
_ALIKE: Final = (
    ("evaluate.base", "evaluate.repaired", "evaluate.control", "evaluate.full"),
    ("repair", "repair.control"),
)
"""Steps of one request that do the same to another model or to other samples, as many of them."""

FindResult = Callable[[str], StepResult | None]
"""Returns the result that is committed under a key; blocking."""


@dataclass(frozen=True)
class Forecast:
    """What is known; None and absent is what is not."""

    prompts: int | None
    samples: int | None
    """Texts that models would be made to write."""
    tokens: int | None
    """Of these, at most."""
    known_s: float
    unknown_steps: tuple[str, ...]
    minimum_detectable_effect: float | None
    assumed_deviation: float
    metrics: tuple[str, ...]


def present_results(
    spec: RepairSpec, digests: Mapping[str, str], find: FindResult
) -> tuple[tuple[PlannedStep, ...], dict[str, StepResult]]:
    """Returns the plan of a request and the results of its steps that are there already; blocking."""
    results: dict[str, StepResult] = {}
    while True:
        planned = plan(spec, digests, results)
        open_steps = [(entry.name, step_key(entry.step)) for entry in planned if entry.step]
        found = {name: result for name, key in open_steps if name not in results and (result := find(key))}
        if not found:
            return planned, results
        results |= found


def forecast(
    spec: RepairSpec,
    planned: Sequence[PlannedStep],
    results: Mapping[str, StepResult],
    row_counts: Mapping[str, int],
) -> Forecast:
    """Returns what carrying out the rest of a plan would take.

    Args:
      spec: The request.
      planned: Its steps.
      results: Those that are there.
      row_counts: Rows of local data sets, by field.
    """
    counts = {**row_counts, **_imported_rows(spec, results)}
    waiting = [entry for entry in planned if entry.name not in results]
    texts = [made for entry in waiting for made in _texts(spec, entry, counts)]
    known = [made for made in texts if made is not None]
    is_known = len(known) == len(texts)
    prompts = counts.get(PROMPTS_FIELD) if spec.measures else None
    seconds = {entry.name: _seconds(entry.name, results) for entry in waiting if entry.kind in _LONG}
    return Forecast(
        prompts=prompts,
        samples=sum(made.count for made in known) if is_known else None,
        tokens=sum(made.count * made.tokens for made in known) if is_known else None,
        known_s=sum(value for value in seconds.values() if value is not None),
        unknown_steps=tuple(name for name, value in seconds.items() if value is None),
        minimum_detectable_effect=_detectable(spec, prompts),
        assumed_deviation=ASSUMED_DEVIATION,
        metrics=tuple(metric.id for metric in measured_metrics(spec.evaluation)) if spec.measures else (),
    )


def _detectable(spec: RepairSpec, prompts: int | None) -> float | None:
    """Returns the fall that the gate would see; None of a sequence, which ends at no number of prompts known before."""
    if not prompts or spec.gate.sequential:
        return None
    return minimum_detectable_effect(ASSUMED_DEVIATION, prompts, alpha=(1 - spec.gate.confidence) / 2)


@dataclass(frozen=True)
class _Texts:
    """Texts that a step makes a model write."""

    count: int
    tokens: int
    """Of each, at most."""


def _imported_rows(spec: RepairSpec, results: Mapping[str, StepResult]) -> dict[str, int]:
    imported = ((entry.field, results.get(entry.step)) for entry in dataset_inputs(spec))
    found = ((field, result.summary.get("rows")) for field, result in imported if result)
    return {field: rows for field, rows in found if isinstance(rows, int)}


def _texts(spec: RepairSpec, entry: PlannedStep, counts: Mapping[str, int]) -> Iterator[_Texts | None]:
    """Yields what a step makes a model write; None where it depends on rows that nobody has counted."""
    match entry.kind:
        case "evaluate":
            protocol = spec.evaluation.protocol.kind
            draws, tokens = 1, _PAPER_NEW_TOKENS
            if isinstance(protocol, StrictProtocol):
                draws, tokens = protocol.draws, protocol.max_new_tokens
            sets = (prompt_set_field(index) for index in range(len(spec.evaluation.prompt_sets)))
            for field in (PROMPTS_FIELD, *sets):
                yield _of_rows(counts.get(field), draws, tokens)
        case "build_pool" if isinstance(spec.pool, SelfGeneratedPool):
            rows = counts.get(POOL_PROMPTS_FIELD)
            yield _of_rows(rows, spec.pool.draws, spec.pool.max_new_tokens)
        case "judge_pool" if isinstance(spec.selection, SelectionStrategy):
            for part in spec.selection.filters:
                if isinstance(part, LearnabilityStrategy):
                    yield _of_rows(counts.get(POOL_FIELD), part.draws, part.max_new_tokens)
        case "sample_texts" if spec.method:
            method = resolved_method(spec.method)
            yield _Texts(method.utility_texts, method.utility_tokens)
        case _:
            pass


def _of_rows(rows: int | None, draws: int, tokens: int) -> _Texts | None:
    return None if rows is None else _Texts(rows * draws, tokens)


def _seconds(name: str, results: Mapping[str, StepResult]) -> float | None:
    """Returns how long a step took that does the same to something else, if one is there."""
    others = (other for group in _ALIKE if name in group for other in group)
    return next((results[other].usage.wall_s for other in others if other in results), None)
