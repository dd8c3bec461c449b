"""Scores read off a model as it is: GRAND, EL2N, LOSS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import PoolTooSmall
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.repair import UNPAIRED_METHODS
from llm_repair.core.selection import Score
from llm_repair.core.steps import ScoreStep, to_json
from llm_repair.models.gradients.loss import sample_loss
from llm_repair.models.loading import context_tokens, load_causal_lm, load_tokenizer
from llm_repair.models.training.encoding import encoding_of
from llm_repair.selection.scoring.el2n import error_norms
from llm_repair.selection.scoring.grand import gradient_norms
from llm_repair.selection.scoring.loss import token_losses
from llm_repair.selection.scoring.samples import pool_samples
from llm_repair.selection.scoring.token_means import token_means
from llm_repair.selection.shards import ONE_SHARD, Shards

FloatArray = npt.NDArray[np.float64]


def model_scores(
    step: ScoreStep, rows: Sequence[Row], store: ArtifactStore, context: StepContext, shards: Shards = ONE_SHARD
) -> tuple[FloatArray, Mapping[str, Json]]:
    """Returns the scores of rows, (n,) in their order, and what they are of.

    A row's score is a function of its own texts and of the model; which rows share its batch changes rounding only.
    On the CPU the same rows give the same bytes, whatever their order and whatever the number of shards.

    Raises:
      PoolTooSmall: there are no rows.
      DatasetInvalid: rows lack a continuation that the score compares, or one has no token.
      ModelInvalid: the model cannot be loaded, or has no gradient.
      NotCarriedOut: GRAND of a method that `sample_loss` does not have.
      StepCancelled: the context says so.
    """
    if not rows:
        raise PoolTooSmall("the pool has no rows", pool=0)
    torch.set_num_threads(context.threads)
    by_gradient = step.score is Score.GRAND
    continuations = sample_loss(step.method).continuations if by_gradient else 1
    context.progress(0, 0, "models", stage="loading model")
    folder = store.materialize(step.model_digest)
    model = load_causal_lm(folder, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    longest = min(step.method.max_tokens, context_tokens(model.config))
    pool = pool_samples(
        rows,
        encoding_of(load_tokenizer(folder)),
        continuations=continuations,
        max_tokens=longest,
        context=context,
        unpaired=by_gradient and isinstance(step.method.objective, UNPAIRED_METHODS),
    )
    about: dict[str, Json] = {
        "model": step.model_digest,
        "method": to_json(step.method),
        "objective": type(step.method.objective).__name__,
        "seed": step.seed,
        "max_tokens": longest,
        "samples": len(rows),
        "distinct": len(pool.distinct),
        "truncated": pool.truncated,
        "tokens": sum(sample.tokens for sample in pool.distinct),
    }
    match step.score:
        case Score.GRAND:
            values, way = gradient_norms(
                model, pool.distinct, step.method, seed=step.seed, context=context, shards=shards
            )
        case Score.EL2N | Score.LOSS:
            of_tokens = error_norms if step.score is Score.EL2N else token_losses
            values = token_means(model, pool.distinct, step.method, of_tokens, context=context, shards=shards)
            way = {"path": "forward"}
        case _:
            raise ValueError(f"{step.score.name} is not read off a model")
    return values[pool.places], {**about, **way}
