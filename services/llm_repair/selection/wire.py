"""Requests of the selection service as domain steps.

Raises `InvalidFields` with every violation at once.
"""

from __future__ import annotations

from llm_repair.core.steps import EmbedStep, ImportDatasetStep, OverlapStep, ScoreStep, SelectStep
from llm_repair.rpc.codec import decode
from llm_repair.v1 import selection_pb2 as pb


def import_dataset_step(request: pb.ImportDatasetRequest) -> ImportDatasetStep:
    """Returns the step that is asked for."""
    return decode(request.step, ImportDatasetStep)


def embed_step(request: pb.EmbedRequest) -> EmbedStep:
    """Returns the step that is asked for."""
    return decode(request.step, EmbedStep)


def score_step(request: pb.ScoreRequest) -> ScoreStep:
    """Returns the step that is asked for."""
    return decode(request.step, ScoreStep)


def select_step(request: pb.SelectRequest) -> SelectStep:
    """Returns the step that is asked for."""
    return decode(request.step, SelectStep)


def overlap_step(request: pb.OverlapRequest) -> OverlapStep:
    """Returns the step that is asked for."""
    return decode(request.step, OverlapStep)
