"""Requests of the evaluation service as domain steps.

Raises `InvalidFields` with every violation at once.
"""

from __future__ import annotations

from llm_repair.core.steps import BuildPoolStep, CompareStep, EvaluateStep, JudgePoolStep, ReportStep, SampleTextsStep
from llm_repair.rpc.codec import decode
from llm_repair.v1 import evaluation_pb2 as pb


def build_pool_step(request: pb.BuildPoolRequest) -> BuildPoolStep:
    """Returns the step that is asked for."""
    return decode(request.step, BuildPoolStep)


def sample_texts_step(request: pb.SampleTextsRequest) -> SampleTextsStep:
    """Returns the step that is asked for."""
    return decode(request.step, SampleTextsStep)


def judge_pool_step(request: pb.JudgePoolRequest) -> JudgePoolStep:
    """Returns the step that is asked for."""
    return decode(request.step, JudgePoolStep)


def evaluate_step(request: pb.EvaluateRequest) -> EvaluateStep:
    """Returns the step that is asked for."""
    return decode(request.step, EvaluateStep)


def compare_step(request: pb.CompareRequest) -> CompareStep:
    """Returns the step that is asked for."""
    return decode(request.step, CompareStep)


def report_step(request: pb.ReportRequest) -> ReportStep:
    """Returns the step that is asked for."""
    return decode(request.step, ReportStep)
