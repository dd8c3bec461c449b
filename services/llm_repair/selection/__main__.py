"""Runs the selection service: `python -m llm_repair.selection --config FILE`."""

from __future__ import annotations

from typing import Final

from llm_repair.rpc.step_service import run_step_service
from llm_repair.selection.servicer import SelectionServicer
from llm_repair.selection.settings import read_settings
from llm_repair.v1 import selection_pb2_grpc as grpc_pb

# Imported in worker processes only.
STEP_CODE: Final = {
    "import_dataset": "llm_repair.selection.import_dataset:run",
    "embed": "llm_repair.selection.embed:run",
    "score": "llm_repair.selection.score:run",
    "select": "llm_repair.selection.select:run",
    "overlap": "llm_repair.selection.overlap:run",
}


def main() -> None:
    """Runs until told to stop."""
    run_step_service(
        "selection",
        "llm_repair.v1.SelectionService",
        read_settings,
        STEP_CODE,
        lambda executions, server: grpc_pb.add_SelectionServiceServicer_to_server(
            SelectionServicer(executions), server
        ),
    )


if __name__ == "__main__":
    main()
