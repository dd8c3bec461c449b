from __future__ import annotations

import hashlib

import pytest

from llm_repair.client import DataLoss, NotFound, RepairClient


@pytest.fixture
async def client(coordinator, token):
    async with RepairClient(coordinator.address, token=token) as client:
        yield client


async def test_a_broken_download_goes_on_from_where_it_was(client, coordinator, tmp_path):
    data = bytes(range(256)) * 40  # 10,240 bytes: eleven chunks of the test server
    blob = coordinator.put_blob(data)
    coordinator.break_downloads_after = [3000, 2000]

    path = await client.download(blob.digest, tmp_path / "file.bin")

    assert path.read_bytes() == data
    assert [request.offset for request in coordinator.download_requests] == [0, 3000, 5000]
    assert [each.name for each in tmp_path.iterdir()] == ["file.bin"]


async def test_what_an_earlier_process_left_is_continued(client, coordinator, tmp_path):
    data = b"x" * 5000
    blob = coordinator.put_blob(data)
    (tmp_path / f".file.bin.{blob.digest[7:19]}.partial").write_bytes(data[:1234])

    await client.download(blob.digest, tmp_path / "file.bin")

    assert [request.offset for request in coordinator.download_requests] == [1234]
    assert (tmp_path / "file.bin").read_bytes() == data


async def test_a_torn_rest_of_an_earlier_process_is_fetched_anew(client, coordinator, tmp_path):
    data = b"x" * 5000
    blob = coordinator.put_blob(data)
    (tmp_path / f".file.bin.{blob.digest[7:19]}.partial").write_bytes(b"?" * 1234)

    await client.download(blob.digest, tmp_path / "file.bin")

    assert [request.offset for request in coordinator.download_requests] == [1234, 0]
    assert (tmp_path / "file.bin").read_bytes() == data


async def test_bytes_without_their_digest_are_refused_and_not_kept(client, coordinator, tmp_path):
    blob = coordinator.put_blob(b"wanted")
    coordinator.damage = True

    with pytest.raises(DataLoss):
        await client.download(blob.digest, tmp_path / "file.bin")

    assert list(tmp_path.iterdir()) == []


async def test_a_tree_arrives_as_a_folder_and_again_as_nothing_to_do(client, coordinator, tmp_path):
    tree = coordinator.put_tree({"config.json": b"{}", "deep/er/weights": b"w" * 3000})

    await client.download(tree.digest, tmp_path / "model")
    fetched = len(coordinator.download_requests)
    await client.download(tree.digest, tmp_path / "model")

    assert (tmp_path / "model/deep/er/weights").read_bytes() == b"w" * 3000
    assert (tmp_path / "model/config.json").read_bytes() == b"{}"
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    assert len(coordinator.download_requests) == fetched == 2


async def test_a_folder_with_something_else_is_left_alone(client, coordinator, tmp_path):
    tree = coordinator.put_tree({"config.json": b"{}"})
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(FileExistsError):
        await client.download(tree.digest, tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "a\\evil", ""])
async def test_a_tree_that_would_leave_its_folder_is_refused(client, coordinator, tmp_path, path):
    tree = coordinator.put_tree({path: b"evil"})

    with pytest.raises(DataLoss):
        await client.download(tree.digest, tmp_path / "into")

    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_digest_is_not_found(client, tmp_path):
    with pytest.raises(NotFound) as caught:
        await client.download(f"sha256:{'0' * 64}", tmp_path / "x")

    assert caught.value.reason == "ARTIFACT_NOT_FOUND"


async def test_an_uploaded_file_has_the_digest_of_its_bytes(client, coordinator, tmp_path):
    data = b"y" * (2 * 1024 * 1024 + 7)  # three chunks
    (tmp_path / "file").write_bytes(data)

    artifact = await client.upload(tmp_path / "file")

    assert artifact.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert coordinator.blobs[artifact.digest] == data


async def test_an_uploaded_folder_comes_back_the_same_with_its_empty_files(client, coordinator, tmp_path):
    (tmp_path / "up/deep").mkdir(parents=True)
    (tmp_path / "up/empty").write_bytes(b"")
    (tmp_path / "up/deep/file").write_bytes(b"z")

    artifact = await client.upload(tmp_path / "up")
    await client.download(artifact.digest, tmp_path / "down")

    assert artifact.is_tree
    assert (tmp_path / "down/empty").read_bytes() == b""
    assert (tmp_path / "down/deep/file").read_bytes() == b"z"
