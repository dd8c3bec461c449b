"""Which message of the contract carries which step, so that a spec can travel to a worker as it came."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from llm_repair.core import steps
from llm_repair.core.steps import Step
from llm_repair.rpc.codec import decode, encode
from llm_repair.v1 import evaluation_pb2, selection_pb2, trainer_pb2

MESSAGES: Final[dict[type[Step], type[Message]]] = {
    steps.ImportModelStep: trainer_pb2.ImportModelStep,
    steps.ImportDatasetStep: selection_pb2.ImportDatasetStep,
    steps.BuildPoolStep: evaluation_pb2.BuildPoolStep,
    steps.SampleTextsStep: evaluation_pb2.SampleTextsStep,
    steps.JudgePoolStep: evaluation_pb2.JudgePoolStep,
    steps.EmbedStep: selection_pb2.EmbedStep,
    steps.ScoreStep: selection_pb2.ScoreStep,
    steps.SelectStep: selection_pb2.SelectStep,
    steps.OverlapStep: selection_pb2.OverlapStep,
    steps.RepairStep: trainer_pb2.RepairStep,
    steps.EvaluateStep: evaluation_pb2.EvaluateStep,
    steps.CompareStep: evaluation_pb2.CompareStep,
    steps.ReportStep: evaluation_pb2.ReportStep,
    steps.PublishStep: trainer_pb2.PublishStep,
}


def pack_step(step: Step) -> Message:
    """Returns the message of a step."""
    return encode(step, MESSAGES[type(step)])


def parse_step(kind: str, data: bytes) -> Step:
    """Reads a step of a kind from its serialized message."""
    step_class = next(step_class for step_class in MESSAGES if step_class.kind == kind)
    return decode(MESSAGES[step_class].FromString(data), step_class)
