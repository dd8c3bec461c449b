# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""The `build_pool` step: repair pairs made of a model's own samples.

A prompt's least toxic sample becomes the chosen and its most toxic one the rejected continuation, when a judge
sets them far enough apart. Prompts that give no pair are counted by reason, not hidden.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from llm_repair.artifacts.datasets import Row, read_rows, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import PoolTooSmall
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.statistics import TOXIC_THRESHOLD
from llm_repair.core.steps import BuildPoolStep
from llm_repair.evaluation.judges.registry import open_judge
from llm_repair.evaluation.sampling_run import Sampled, own_samples
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation
from llm_repair.models.inference.sampling import Sampling


class NoPair(enum.Enum):
    """Why a prompt gives no pair; the first that applies."""

    NEVER_TOXIC = "never_toxic"
    """No sample reaches the threshold of 0.5."""
    GAP_TOO_SMALL = "gap_too_small"
    """The scores of the two ends differ by less than asked for."""
    NO_CHOSEN = "no_chosen"
    """Every scored sample is blank or shorter than a chosen one must be."""
    UNSCORED = "unscored"
    """The judge gave fewer than two scores."""


@dataclass(frozen=True)
class ScoredSample:
    """A sample and its toxicity; None where the judge gave none."""

    sample: Generation
    score: float | None


@dataclass(frozen=True)
class Pair:
    """The two ends of a prompt's samples."""

    chosen: ScoredSample
    rejected: ScoredSample


def run(step: BuildPoolStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Samples, judges and pairs.

    Outputs: `pool`, a data set of pairs; a row has the id and the extra columns of its prompt.

    Raises:
      PoolTooSmall: no prompt gave a pair.
      DatasetInvalid, PromptTooLong: a prompt cannot be used; rows are named by id.
      EngineUnavailable, EngineParityFailed, JudgeUnavailable, ModelInvalid: before anything is generated.
      EngineUnavailable, JudgeUnavailable: engine or judge breaks down, or no sample got a score.
    """
    torch.set_num_threads(context.threads)
    watch = Stopwatch()
    rows = read_rows(store, step.prompts_digest)
    judge = open_judge(step.judge, store)
    made = own_samples(_sampled(step), rows, [judge], store, context, watch)
    scored = [ScoredSample(one.sample, one.judged.scores[0]) for one in made]
    known = [one.score for one in scored if one.score is not None]
    found = dict(_pairs(scored, step))
    reasons = Counter(result for result in found.values() if isinstance(result, NoPair))
    pairs = {prompt: result for prompt, result in found.items() if isinstance(result, Pair)}
    counts: dict[str, Json] = {
        "prompts": len(rows),
        "pairs": len(pairs),
        **{reason.value: reasons[reason] for reason in NoPair},
        "missing_scores": len(scored) - len(known),
    }
    if not pairs:
        raise PoolTooSmall("no prompt gave a pair of samples far enough apart", **counts)
    pool = write_rows(store, (_pool_row(row, pairs[row.id]) for row in rows if row.id in pairs))
    return StepOutput(
        outputs={"pool": pool},
        summary={
            **counts,
            "mean_toxicity": math.fsum(known) / len(known),
            "judge": judge.name,
            "generated_tokens": sum(one.sample.tokens for one in scored),
            "seconds": watch.to_json(),
        },
    )


def pair_ends(samples: Sequence[ScoredSample], *, min_gap: float, min_chosen_tokens: int) -> Pair | NoPair:
    """Pairs one prompt's least toxic sample that is long enough and not blank with its most toxic one.

    Among equals the smaller draw wins.
    """
    known = [(one.score, one.sample.draw, one) for one in samples if one.score is not None and one.sample.text.strip()]
    if len(known) < 2:
        return NoPair.UNSCORED
    highest, _, rejected = min(known, key=lambda item: (-item[0], item[1]))
    fit = [item for item in known if item[2].sample.tokens >= min_chosen_tokens and item[2] is not rejected]
    if fit:
        lowest, _, chosen = min(fit, key=lambda item: item[:2])
        if highest - lowest >= min_gap:
            return Pair(chosen, rejected)
    if highest < TOXIC_THRESHOLD:
        return NoPair.NEVER_TOXIC
    return NoPair.GAP_TOO_SMALL if fit else NoPair.NO_CHOSEN


def _pairs(scored: Sequence[ScoredSample], step: BuildPoolStep) -> Iterator[tuple[str, Pair | NoPair]]:
    for prompt_id, samples in itertools.groupby(scored, key=lambda one: one.sample.prompt_id):
        yield (
            prompt_id,
            pair_ends(list(samples), min_gap=step.min_gap, min_chosen_tokens=step.min_chosen_tokens),
        )


def _pool_row(row: Row, pair: Pair) -> Row:
    scores: Mapping[str, Json] = {"chosen_toxicity": pair.chosen.score, "rejected_toxicity": pair.rejected.score}
    return replace(
        row, chosen=pair.chosen.sample.text, rejected=pair.rejected.sample.text, text="", extra={**row.extra, **scores}
    )


def _sampled(step: BuildPoolStep) -> Sampled:
    sampling = Sampling(
        draws=step.draws,
        max_new_tokens=step.max_new_tokens,
        top_p=step.top_p,
        temperature=step.temperature,
        seed=step.seed,
    )
    return Sampled(step.model_digest, step.engine, sampling)
