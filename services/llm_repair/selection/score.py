"""Step `score`: scores the difficulty of every pool row at a model."""

from __future__ import annotations

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import NotCarriedOut
from llm_repair.core.execution import StepContext, StepOutput
from llm_repair.core.steps import ScoreStep


def run(step: ScoreStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Raises `NotCarriedOut`: the contract has scores, this version computes none."""
    raise NotCarriedOut(f"this version does not compute {step.score.name} scores yet", score=step.score.name)
