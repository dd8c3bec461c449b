"""A running stack and a request that repairs the tiny model."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from llm_repair.client import RepairClient, repair_spec
from llm_repair.v1 import coordinator_pb2 as pb
from stack import Stack, running_stack
from tiny_assets import TinyAssets


@pytest.fixture(scope="session")
def stack(tiny: TinyAssets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that do not hurt it."""
    with running_stack(tmp_path_factory.mktemp("stack"), [tiny.root]) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[RepairClient]:
    async with RepairClient(stack.address, token=stack.token) as made:
        yield made


def tiny_spec(tiny: TinyAssets, **changes: object) -> pb.RepairSpec:
    """Returns a request that repairs the tiny model in seconds."""
    options: dict[str, object] = {
        "model": f"file:{tiny.model}",
        "encoder": f"file:{tiny.encoder}",
        "prompts": f"file:{tiny.prompts}",
        "eval_prompts": f"file:{tiny.eval_prompts}",
        "corpora": {"texts": f"file:{tiny.texts}"},
        "fraction": 0.5,
        "method": "dpo",
        "learning_rate": 1e-3,
        "epochs": 2,
        "draws": 3,
        "seed": 1,
        **changes,
    }
    spec = repair_spec(**options)  # type: ignore[arg-type]
    if spec.WhichOneof("pool") == "self_generated_pool":
        spec.self_generated_pool.draws = 4
        spec.self_generated_pool.max_new_tokens = 8
        spec.self_generated_pool.min_chosen_tokens = 2
    spec.evaluation.protocol.strict.max_new_tokens = 8
    spec.method.max_tokens = 64
    spec.method.batch_samples = 4
    spec.method.checkpoint_every_steps = 2
    spec.method.validations = 2
    return spec


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
