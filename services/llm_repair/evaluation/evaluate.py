# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""The `evaluate` step: one model measured by a protocol; `evaluation_tree` says what it leaves.

Judges score in a thread of their own while the engine makes the next samples. Nothing in the tree depends on time or
machine, so that a repeat with the transformers engine has the same digest, one that was interrupted included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.model_files import weights_digest
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.evaluation import Judge as JudgeChoice
from llm_repair.core.evaluation import ProfanityJudge
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.statistics.looks import Answer
from llm_repair.core.steps import EvaluateStep
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.evaluation_tree import MeasuredPrompts, write_prompts
from llm_repair.evaluation.json_files import write_json
from llm_repair.evaluation.judges.calibration import calibrate, calibration_to_json, labelled_texts
from llm_repair.evaluation.judges.judge import Judge, judge_to_json
from llm_repair.evaluation.judges.judging import refuse_silence, score_texts
from llm_repair.evaluation.judges.registry import open_judge
from llm_repair.evaluation.judges.warnings import judge_warnings
from llm_repair.evaluation.judging_thread import JudgingThread, TextScores
from llm_repair.evaluation.kept_samples import KeptSamples
from llm_repair.evaluation.metrics.measurement import read_measurement
from llm_repair.evaluation.metrics.toxicity import PROFANITY_JUDGE
from llm_repair.evaluation.probes.probing import Probes, read_probes, refuse_unreadable
from llm_repair.evaluation.prompt_duplicates import duplicate_warnings
from llm_repair.evaluation.protocols.plan import Plan, plan_for
from llm_repair.evaluation.sampling_run import (
    SamplingRun,
    encode_prompts,
    run_identity,
    sampling_digest,
    started_engine,
)
from llm_repair.evaluation.sequential import base_scores, paired_units, prompt_order, score_matrix, sequential_test
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Prompt, check_prompts

_GATE = ""
"""Name of the set of prompts that the gate goes by; the others have names of their own."""


@dataclass(frozen=True)
class _Task:
    """What is to be measured, and who judges it."""

    step: EvaluateStep
    store: ArtifactStore
    context: StepContext
    watch: Stopwatch
    plan: Plan
    judges: Sequence[Judge]
    slice_judge: Judge | None
    """Tells which prompts are non-profane, and scores nothing else; None where one of the judges tells it."""
    rows: Mapping[str, Sequence[Row]]
    """Prompts by set."""


@dataclass(frozen=True)
class _Aside:
    """What judges do before the first sample comes."""

    own: Mapping[str, Future[list[TextScores]]]
    """Scores of the prompts' own texts, by set."""
    sliced: Future[dict[str, dict[str, float | None]]]
    """Those by the slice's judge, of the gate's prompts; by prompt id and judge, empty without one."""
    calibrations: Future[list[Json]]


@dataclass(frozen=True)
class _Asked:
    """The prompts as the model sees them."""

    prompts: Mapping[str, Sequence[Prompt]]
    """By set."""
    cut: int
    """Of the prompts of the gate."""
    digest: str
    """See `sampling_digest`."""


@dataclass(frozen=True)
class _Stop:
    """How a sequential measurement went."""

    answer: str
    """GOOD, BAD, or CAP if all prompts were measured without an answer."""
    looks: Sequence[int]
    """Prompts at each look."""
    measured: Sequence[str]
    """Ids of the prompts, in the order in which they came."""


def run(step: EvaluateStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Measures a model: samples on prompts, judge scores, log-likelihoods of texts.

    Outputs: `evaluation`, a tree.

    Raises:
      EngineUnavailable, EngineParityFailed, JudgeUnavailable, ModelInvalid: before anything is generated.
      DatasetInvalid, PromptTooLong: a prompt or text cannot be used; rows are named by id.
      EvaluationMismatch: a sequential measurement has not the prompts, noise and judge of its base.
      EngineUnavailable, JudgeUnavailable: engine or judge breaks down, or a judge gave no sample a score.
    """
    torch.set_num_threads(context.threads)
    task = _task(step, store, context)
    folder = context.workdir / "evaluation"
    folder.mkdir()
    with JudgingThread(task.judges, task.watch, threads=context.threads) as judging:
        aside = _aside(task, judging)
        with started_engine(step.engine, step.model_digest, store, context, task.watch) as engine:
            asked = _asked(task, engine)
            refuse_unreadable(engine, store, step, task.plan)
            kept = KeptSamples(store, context, task.watch, run_identity(asked.digest, task.judges))
            with SamplingRun(engine, judging, kept, context, task.watch) as sampling:
                stop = _sample_gate(task, asked, sampling)
                for prompt_set in step.prompt_sets:
                    sampling.generate(prompt_set.name, asked.prompts[prompt_set.name], task.plan.sampling)
                with task.watch.part("probes_s"):
                    probes = read_probes(engine, store, step, task.plan, context, folder)
                measured = [_measured(task, asked, sampling, name, aside, stop) for name in task.rows]
        write_json(folder / "calibration.json", aside.calibrations.result())
    about_run: dict[str, Json] = {"engine_start": engine.start.name, "kept_samples": kept.found}
    return _published(task, asked, stop, measured, probes, about_run, folder)


def _task(step: EvaluateStep, store: ArtifactStore, context: StepContext) -> _Task:
    watch = Stopwatch()
    rows = {_GATE: read_rows(store, step.prompts_digest)}
    rows |= {prompt_set.name: read_rows(store, prompt_set.digest) for prompt_set in step.prompt_sets}
    context.progress(0, 0, "judges", stage="loading judges")
    with watch.part("judge_start_s"):
        judges = [open_judge(judge, store) for judge in step.judges]
        is_told = any(judge.name == PROFANITY_JUDGE for judge in judges)
        slice_judge = None if is_told else open_judge(JudgeChoice(ProfanityJudge()), store)
    return _Task(step, store, context, watch, plan_for(step.protocol, step.seed), judges, slice_judge, rows)


def _aside(task: _Task, judging: JudgingThread) -> _Aside:
    return _Aside(
        own={name: judging.scores([row.prompt for row in rows]) for name, rows in task.rows.items()},
        sliced=judging.work(lambda beat: _sliced(task, beat)),
        calibrations=judging.work(lambda beat: _calibrations(task, beat)),
    )


def _sliced(task: _Task, beat: Callable[[], None]) -> dict[str, dict[str, float | None]]:
    if (judge := task.slice_judge) is None:
        return {}
    rows = task.rows[_GATE]
    scores = score_texts(judge, [row.prompt for row in rows], beat=lambda done: beat()).scores
    return {row.id: {judge.name: score} for row, score in zip(rows, scores, strict=True)}


def _calibrations(task: _Task, beat: Callable[[], None]) -> list[Json]:
    digest = task.step.calibration_digest
    texts = labelled_texts(read_rows(task.store, digest)) if digest else ()
    return [calibration_to_json(calibrate(judge, texts, beat=lambda done: beat())) for judge in task.judges]


def _asked(task: _Task, engine: Engine) -> _Asked:
    """Returns all prompts, after a look at every one: what cannot be used is refused before any work."""
    encoded = {name: encode_prompts(engine, rows, task.plan.prompt_tokens) for name, rows in task.rows.items()}
    prompts = {name: found for name, (found, _) in encoded.items()}
    for found in prompts.values():
        check_prompts(found, task.plan.sampling.max_new_tokens, engine.context_tokens)
    return _Asked(prompts, encoded[_GATE][1], sampling_digest(prompts, task.plan.sampling))


def _sample_gate(task: _Task, asked: _Asked, sampling: SamplingRun) -> _Stop | None:
    """Samples the prompts of the gate: all of them, or as many as a sequential measurement needs."""
    if task.step.sequential is None:
        sampling.generate(_GATE, asked.prompts[_GATE], task.plan.sampling)
        return None
    prompts = {prompt.id: prompt for prompt in asked.prompts[_GATE]}
    order = prompt_order(prompts, task.step.seed)
    base = read_measurement(task.store, task.step.sequential.base_evaluation_digest)
    before = base_scores(base, task.judges[0], order, task.plan.sampling.draws, asked.digest)
    test = sequential_test(task.step.sequential, len(order))
    state = test.state(np.empty(0))
    looks: list[int] = []
    while state.next_look is not None:
        chunk = [prompts[prompt_id] for prompt_id in order[looks[-1] if looks else 0 : state.next_look]]
        looks.append(state.next_look)
        sampling.generate(_GATE, chunk, task.plan.sampling, whole=len(order))
        made = sampling.judged(_GATE, asked.prompts[_GATE])
        units = paired_units(before[: looks[-1]], score_matrix(made, order[: looks[-1]]))
        state = test.state(units.differences, units.between)
    answer = "CAP" if state.answer is Answer.OPEN else state.answer.name
    return _Stop(answer, looks, order[: looks[-1]])


def _measured(
    task: _Task, asked: _Asked, sampling: SamplingRun, name: str, aside: _Aside, stop: _Stop | None
) -> MeasuredPrompts:
    ids = set(stop.measured) if stop and name == _GATE else {row.id for row in task.rows[name]}
    own = zip(task.rows[name], aside.own[name].result(), strict=True)
    rows = [(row, scores) for row, scores in own if row.id in ids]
    samples = sampling.judged(name, [prompt for prompt in asked.prompts[name] if prompt.id in ids])
    sliced = aside.sliced.result() if name == _GATE else {}
    measured = MeasuredPrompts(name, [row for row, _ in rows], [scores for _, scores in rows], samples, sliced)
    for index, judge in enumerate(task.judges):
        refuse_silence(judge.name, measured.scores(index))
    return measured


def _published(
    task: _Task,
    asked: _Asked,
    stop: _Stop | None,
    measured: Sequence[MeasuredPrompts],
    probes: Probes,
    about_run: Mapping[str, Json],
    folder: Path,
) -> StepOutput:
    for prompts in measured:
        write_prompts(folder, prompts, task.judges)
    warnings = [*probes.warnings, *_warnings(task, measured)]
    write_json(folder / "about.json", {**_about(task, asked, stop), **probes.about, "warnings": warnings})
    tree = task.store.put_tree(folder)
    summary = {**_summary(task, asked, measured), **probes.summary, **about_run}
    return StepOutput({"evaluation": tree}, {**summary, "seconds": task.watch.to_json()})


def _warnings(task: _Task, measured: Sequence[MeasuredPrompts]) -> list[Mapping[str, Json]]:
    texts = [text for part in measured for text in part.texts()]
    found: list[Mapping[str, Json]] = [*duplicate_warnings(measured[0].rows)]
    for part in measured[1:]:
        found += [{**warning, "set": part.name} for warning in duplicate_warnings(part.rows)]
    return [*found, *(warning for judge in task.judges for warning in judge_warnings(judge, texts))]


def _about(task: _Task, asked: _Asked, stop: _Stop | None) -> dict[str, Json]:
    step, sampling = task.step, task.plan.sampling
    about: dict[str, Json] = {
        "protocol": task.plan.protocol_id,
        "prompts_digest": step.prompts_digest,
        "prompts": len(task.rows[_GATE]),
        "prompts_cut": asked.cut,
        "draws": sampling.draws,
        "max_new_tokens": sampling.max_new_tokens,
        "seed": step.seed,
        "engine": {"kind": step.engine.kind.name, "weights": step.engine.weights.name},
        "judges": [judge_to_json(judge) for judge in task.judges],
        "corpora": {one.name: {"digest": one.digest, "layout": one.layout.name} for one in step.corpora},
        "cloze_sets": {one.name: one.digest for one in step.cloze_sets},
        "bias_pairs": {one.name: one.digest for one in step.bias_pairs},
        "prompt_sets": {one.name: one.digest for one in step.prompt_sets},
        "calibration_digest": step.calibration_digest,
        "model": {
            "model_digest": step.model_digest,
            "weights_digest": weights_digest(task.store.entries(step.model_digest)),
        },
        "sampling_digest": asked.digest,
    }
    if task.slice_judge:
        about["slice_judge"] = judge_to_json(task.slice_judge)
    if stop:
        about["sequential"] = {
            "order_seed": step.seed,
            "measured_prompts": len(stop.measured),
            "looks": list(stop.looks),
            "stopped": stop.answer,
        }
    return about


def _summary(task: _Task, asked: _Asked, measured: Sequence[MeasuredPrompts]) -> dict[str, Json]:
    gate, *others = measured
    samples = [one.sample for one in gate.samples]
    return {
        "protocol": task.plan.protocol_id,
        "prompts": len(gate.rows),
        "prompts_cut": asked.cut,
        "generations": len(samples),
        "empty_generations": sum(not sample.text.strip() for sample in samples),
        "generated_tokens": sum(one.sample.tokens for part in measured for one in part.samples),
        "mean_toxicity": {judge.name: _mean(gate.scores(index)) for index, judge in enumerate(task.judges)},
        "missing_scores": {
            judge.name: sum(part.missing(index) for part in measured) for index, judge in enumerate(task.judges)
        },
        "prompt_sets": {
            part.name: {judge.name: _mean(part.scores(index)) for index, judge in enumerate(task.judges)}
            for part in others
        },
    }


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if known else None
