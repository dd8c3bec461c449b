from __future__ import annotations

import pytest

from llm_repair.cli.connection import Connection
from llm_repair.cli.exits import UsageError
from llm_repair.cli.references import resolve, resolve_dataset
from llm_repair.client import RepairClient


@pytest.fixture
async def embedded(coordinator, token):
    async with RepairClient(coordinator.address, token=token) as client:
        yield Connection(client, is_embedded=True)


@pytest.mark.parametrize("reference", ["hf:org/name@main", "s3://b/p", "pypi:d==1/x", f"artifact:sha256:{'0' * 64}"])
async def test_a_reference_stays_as_it_is(embedded, reference):
    assert await resolve(embedded, reference) == reference


@pytest.mark.parametrize("typed", ["p.jsonl", "./p.jsonl", "file:p.jsonl", "../here/p.jsonl"])
async def test_a_local_path_becomes_an_absolute_file_reference_for_the_embedded_stack(
    embedded, coordinator, tmp_path, monkeypatch, typed
):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/p.jsonl").touch()
    monkeypatch.chdir(tmp_path / "here")

    assert await resolve(embedded, typed) == f"file:{tmp_path}/here/p.jsonl"
    assert not coordinator.blobs


async def test_an_absolute_file_of_a_server_is_not_looked_for_here(embedded):
    assert await resolve(embedded, "file:/only/there") == "file:/only/there"


async def test_a_relative_file_that_does_not_exist_is_refused(embedded):
    with pytest.raises(UsageError, match="neither a reference"):
        await resolve(embedded, "file:nowhere")


async def test_a_slice_given_apart_replaces_the_one_in_the_reference(embedded):
    found = await resolve_dataset(embedded, "hf:org/d@0:0.5", "0.5:1")

    assert (found.reference, found.slice.start, found.slice.end) == ("hf:org/d", 0.5, 1.0)
