"""Runs the trainer service: `python -m llm_repair.trainer --config FILE`."""

from __future__ import annotations

from typing import Final

from llm_repair.rpc.step_service import run_step_service
from llm_repair.trainer.servicer import TrainerServicer
from llm_repair.trainer.settings import read_settings
from llm_repair.v1 import trainer_pb2_grpc as grpc_pb

# Imported in worker processes only.
STEP_CODE: Final = {
    "import_model": "llm_repair.trainer.import_model:run",
    "repair": "llm_repair.trainer.repair:run",
    "publish": "llm_repair.trainer.publish:run",
}


def main() -> None:
    """Runs until told to stop."""
    run_step_service(
        "trainer",
        "llm_repair.v1.TrainerService",
        read_settings,
        STEP_CODE,
        lambda executions, server: grpc_pb.add_TrainerServiceServicer_to_server(TrainerServicer(executions), server),
    )


if __name__ == "__main__":
    main()
