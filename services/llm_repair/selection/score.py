"""Step `score`: scores the difficulty of every pool row, at a model or by embeddings.

The output holds nothing that differs between two runs of the same step; seconds and memory are in the summary.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.scores import write_scores
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.scoring import DYNAMICS_SCORES, JUDGE_SCORES, MODEL_SCORES
from llm_repair.core.steps import ScoreStep
from llm_repair.selection.peak_memory import PeakMemory

FloatArray = npt.NDArray[np.float64]


def run(step: ScoreStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Scores the pool. Output: `scores`; see `artifacts.scores`.

    Raises:
      InvalidFields: a score that only a judge makes, or no model for one that needs it.
      PoolTooSmall: the pool has no rows.
      DatasetInvalid: rows lack a continuation that the score compares; named by id.
      ModelInvalid: the model cannot be loaded, or has no gradient.
      LossNotFinite: the short run of AUM or FORGETTING diverged.
      FeaturesInvalid: a score is not finite, or the embeddings are not of this pool; names the row.
      StepCancelled: the context says so.
    """
    _check(step)
    started, memory = time.perf_counter(), PeakMemory()
    rows = read_rows(store, step.pool_digest)
    values, made = _scores(step, rows, store, context)
    about: dict[str, Json] = {**made, "pool": step.pool_digest, "score": step.score.name}
    scores = write_scores(store, context.workdir / "scores", values, [row.id for row in rows], about)
    summary: dict[str, Json] = {
        **{name: value for name, value in made.items() if isinstance(value, bool | int | float | str)},
        "pool": len(rows),
        "score": step.score.name,
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": memory.read(),
    }
    return StepOutput({"scores": scores}, summary)


def _check(step: ScoreStep) -> None:
    if step.score in JUDGE_SCORES:
        raise InvalidFields([FieldViolation("score", f"{step.score.name} is made by a judge: use judge_pool")])
    if step.score in (*MODEL_SCORES, *DYNAMICS_SCORES) and not step.model_digest:
        raise InvalidFields([FieldViolation("model_digest", f"{step.score.name} is read off a model")])


def _scores(
    step: ScoreStep, rows: Sequence[Row], store: ArtifactStore, context: StepContext
) -> tuple[FloatArray, Mapping[str, Json]]:
    """Imports only what the score needs: a network takes seconds to import, embeddings need none."""
    if step.score in MODEL_SCORES:
        from llm_repair.selection.scoring.model_scores import model_scores

        return model_scores(step, rows, store, context)
    if step.score in DYNAMICS_SCORES:
        from llm_repair.selection.scoring.dynamics import dynamics_scores

        return dynamics_scores(step, rows, store, context)
    from llm_repair.selection.scoring.instance_hardness import hardness_scores

    return hardness_scores(step, [row.id for row in rows], store, context)
