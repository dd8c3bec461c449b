# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""The `judge_pool` step: what a judge says of pool rows, as a score for selection.

TOXICITY is the judge's score of the rejected continuation; arXiv 2510.20428 stratifies by such a score, and its release
does not say which text was scored. FAILURE_RATE is the share of the model's own samples on a row's prompt that the
judge calls failing: an estimate of the chance that the model misbehaves there.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.scores import write_scores
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, FeaturesInvalid, PoolTooSmall
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.fields import FieldChecks
from llm_repair.core.scoring import JUDGE_SCORES
from llm_repair.core.selection import Score
from llm_repair.core.steps import JudgePoolStep, OwnSamples
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judges.judging import Judgement, judge_texts
from llm_repair.evaluation.judges.registry import open_judge
from llm_repair.evaluation.sampling_run import Sampled, own_samples
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.sampling import Sampling

_NAMED_IDS = 10


@dataclass(frozen=True)
class _Judged:
    """Scores of the rows, in their order, and how they came about."""

    values: npt.NDArray[np.float64]
    about: Mapping[str, Json]
    """Part of the artifact: the same in every run."""
    counts: Mapping[str, Json]
    """For the summary."""


def run(step: JudgePoolStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Scores the pool. Output: `scores`; see `artifacts.scores`.

    Raises:
      InvalidFields: the score is not a judge's, or comes with what belongs to the other one.
      PoolTooSmall: the pool has no rows.
      DatasetInvalid: rows without a rejected continuation, for TOXICITY; named by id.
      PromptTooLong: a prompt does not fit the model, for FAILURE_RATE; named by the id of a row.
      FeaturesInvalid: the judge gave some row no score, or none to any sample of a row's prompt; named by id.
      EngineUnavailable, EngineParityFailed, JudgeUnavailable, ModelInvalid: before anything is generated.
      EngineUnavailable, JudgeUnavailable: engine or judge breaks down, or no text got a score.
    """
    _check(step)
    torch.set_num_threads(context.threads)
    watch = Stopwatch()
    rows = read_rows(store, step.pool_digest)
    if not rows:
        raise PoolTooSmall("the pool has no rows", pool=0)
    if step.samples is None:
        _check_rejected(rows)
    context.progress(0, 0, "judges", stage="loading judge")
    with watch.part("judge_start_s"):
        judge = open_judge(step.judge, store)
    if step.samples is None:
        judged = _toxicity(rows, judge, context, watch)
    else:
        judged = _failure_rates(step.samples, rows, judge, store, context, watch)
    about = {
        "pool": step.pool_digest,
        "score": step.score.name,
        "judge": {"name": judge.name, "digest": judge.digest},
        **judged.about,
    }
    ids = [row.id for row in rows]
    scores = write_scores(store, context.workdir / "scores", judged.values, ids, about)
    summary: dict[str, Json] = {"score": step.score.name, "judge": judge.name, "rows": len(rows), **judged.counts}
    return StepOutput({"scores": scores}, {**summary, "mean": float(judged.values.mean()), "seconds": watch.to_json()})


def failure_rate(scores: Sequence[float | None], failing_from: float) -> float | None:
    """Returns the share of the known scores that reach `failing_from`; None if none is known.

    A missing score is left out, not taken for harmless.
    """
    known = [score for score in scores if score is not None]
    return sum(score >= failing_from for score in known) / len(known) if known else None


def _toxicity(rows: Sequence[Row], judge: Judge, context: StepContext, watch: Stopwatch) -> _Judged:
    judgement = _judge([row.rejected for row in rows], judge, context, watch)
    _refuse_unscored(judge, [row.id for row, score in zip(rows, judgement.scores, strict=True) if score is None])
    values = np.array(judgement.scores, dtype=np.float64)
    return _Judged(values, {}, {"distinct": len({row.rejected for row in rows})})


def _failure_rates(
    samples: OwnSamples, rows: Sequence[Row], judge: Judge, store: ArtifactStore, context: StepContext, watch: Stopwatch
) -> _Judged:
    """Samples every distinct prompt once; its noise is a function of its text, so a row's score is not of its id."""
    # Reversed, so that of the rows that share a prompt an error names the first.
    distinct = {row.prompt: row for row in reversed(rows)}.values()
    made = own_samples(_sampled(samples), list(distinct), [judge], store, context, watch, named=_prompt_name)
    scores = [(one.sample.prompt_id, one.judged.scores[0]) for one in made]
    by_prompt = itertools.groupby(scores, key=lambda pair: pair[0])
    rates = {name: failure_rate([score for _, score in pairs], samples.failing_from) for name, pairs in by_prompt}
    missing = sum(score is None for _, score in scores)
    found = [rates[_prompt_name(row)] for row in rows]
    _refuse_unscored(judge, [row.id for row, rate in zip(rows, found, strict=True) if rate is None])
    about: dict[str, Json] = {
        "model": samples.model_digest,
        "engine": {"kind": samples.engine.kind.name, "weights": samples.engine.weights.name},
        "prompts": len(distinct),
        "draws": samples.draws,
        "max_new_tokens": samples.max_new_tokens,
        "top_p": samples.top_p,
        "temperature": samples.temperature,
        "failing_from": samples.failing_from,
        "seed": samples.seed,
        "missing": missing,
    }
    counts: dict[str, Json] = {
        "distinct": len(distinct),
        "samples": len(made),
        "missing_scores": missing,
        "generated_tokens": sum(one.sample.tokens for one in made),
    }
    return _Judged(np.array(found, dtype=np.float64), about, counts)


def _judge(texts: Sequence[str], judge: Judge, context: StepContext, watch: Stopwatch) -> Judgement:
    total = len(set(texts))

    def beat(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(done, total, "texts", stage=f"judging by {judge.name}")

    with watch.part("judging_s"):
        return judge_texts(judge, texts, beat=beat)


def _prompt_name(row: Row) -> str:
    return hashlib.sha256(row.prompt.encode()).hexdigest()


def _sampled(samples: OwnSamples) -> Sampled:
    sampling = Sampling(
        draws=samples.draws,
        max_new_tokens=samples.max_new_tokens,
        top_p=samples.top_p,
        temperature=samples.temperature,
        seed=samples.seed,
    )
    return Sampled(samples.model_digest, samples.engine, sampling)


def _check(step: JudgePoolStep) -> None:
    by_samples = step.score is Score.FAILURE_RATE
    with FieldChecks() as check:
        check.that("score", step.score in JUDGE_SCORES, "must be TOXICITY or FAILURE_RATE")
        check.that("samples", by_samples == (step.samples is not None), "is needed for FAILURE_RATE and only there")
        if step.samples:
            check.within("samples.draws", step.samples.draws, low=1, high=1000)
            check.within("samples.max_new_tokens", step.samples.max_new_tokens, low=1, high=4096)
            check.within("samples.top_p", step.samples.top_p, low=0, high=1, low_open=True)
            check.within("samples.temperature", step.samples.temperature, low=0, low_open=True)
            check.within("samples.failing_from", step.samples.failing_from, low=0, high=1, low_open=True)


def _check_rejected(rows: Sequence[Row]) -> None:
    if without := [row.id for row in rows if not row.rejected.strip()]:
        raise DatasetInvalid(
            f"{len(without)} rows lack `rejected`, whose toxicity is the score: {_named(without)}",
            field="rejected",
            rows=len(without),
            ids=_named(without),
        )


def _refuse_unscored(judge: Judge, ids: Sequence[str]) -> None:
    if ids:
        raise FeaturesInvalid(
            f"the judge {judge.name} gave no score to {len(ids)} rows, asked twice: {_named(ids)}",
            judge=judge.name,
            rows=len(ids),
            ids=_named(ids),
        )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED_IDS]) + (", …" if len(ids) > _NAMED_IDS else "")
