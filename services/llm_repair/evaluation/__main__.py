"""Runs the evaluation service: `python -m llm_repair.evaluation --config FILE`."""

from __future__ import annotations

from typing import Final

from llm_repair.evaluation.servicer import EvaluationServicer
from llm_repair.evaluation.settings import read_settings
from llm_repair.rpc.step_service import run_step_service
from llm_repair.v1 import evaluation_pb2_grpc as grpc_pb

# Imported in worker processes only.
STEP_CODE: Final = {
    "build_pool": "llm_repair.evaluation.build_pool:run",
    "sample_texts": "llm_repair.evaluation.sample_texts:run",
    "judge_pool": "llm_repair.evaluation.judge_pool:run",
    "evaluate": "llm_repair.evaluation.evaluate:run",
    "compare": "llm_repair.evaluation.compare:run",
    "report": "llm_repair.evaluation.report.report:run",
}


def main() -> None:
    """Runs until told to stop."""
    run_step_service(
        "evaluation",
        "llm_repair.v1.EvaluationService",
        read_settings,
        STEP_CODE,
        lambda executions, server: grpc_pb.add_EvaluationServiceServicer_to_server(
            EvaluationServicer(executions), server
        ),
    )


if __name__ == "__main__":
    main()
