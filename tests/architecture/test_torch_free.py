"""Client, coordinator and RPC processes must start on machines that have no torch."""

import subprocess
import sys

import pytest

BLOCK = """
import sys
HEAVY = {"torch", "transformers", "faiss", "sentence_transformers", "peft", "datasets", "vllm"}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize(
    "module",
    [
        "llm_repair.client",
        "llm_repair.cli.main",
        "llm_repair.coordinator.__main__",
        "llm_repair.selection.__main__",
        "llm_repair.trainer.__main__",
        "llm_repair.evaluation.__main__",
        "llm_repair.rpc.worker",
    ],
)
def test_module_imports_without_torch(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"{BLOCK}\nimport {module}"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
