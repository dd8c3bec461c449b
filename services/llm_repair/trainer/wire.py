"""Requests of the trainer service as domain steps.

Raises `InvalidFields` with every violation at once.
"""

from __future__ import annotations

from llm_repair.core.steps import ImportModelStep, PublishStep, RepairStep
from llm_repair.rpc.codec import decode
from llm_repair.v1 import trainer_pb2 as pb


def import_model_step(request: pb.ImportModelRequest) -> ImportModelStep:
    """Returns the step that is asked for."""
    return decode(request.step, ImportModelStep)


def repair_step(request: pb.RepairRequest) -> RepairStep:
    """Returns the step that is asked for."""
    return decode(request.step, RepairStep)


def publish_step(request: pb.PublishRequest) -> PublishStep:
    """Returns the step that is asked for."""
    return decode(request.step, PublishStep)
