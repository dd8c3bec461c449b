"""A running stack and a request that repairs the tiny model."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from command_line import Cli, Ran
from stack import Stack, running_stack
from tiny_assets import TinyAssets

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.cli.main import main
from llm_repair.client import RepairClient


@pytest.fixture(scope="session")
def stack(tiny: TinyAssets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that do not hurt it."""
    with running_stack(tmp_path_factory.mktemp("stack"), [tiny.root]) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[RepairClient]:
    async with RepairClient(stack.address, token=stack.token) as made:
        yield made


@pytest.fixture
def cli(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `llm-repair` against the stack."""

    async def run(command: str, *arguments: str) -> Ran:
        server = ("--server", stack.address, "--token-file", str(stack.home / "token"))
        code = await asyncio.to_thread(main, (command, *arguments, *server))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def stack_store(stack: Stack, tmp_path: Path) -> ArtifactStore:
    """The store of the running stack, as its services open it."""
    return ArtifactStore(stack.store.as_uri(), project="default", cache_dir=tmp_path / "cache")
