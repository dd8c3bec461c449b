"""A disk that fills up while artifacts are written: on a real small file system."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_repair.artifacts.objects import PART_BYTES
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ArtifactNotFound, StorageFull
from llm_repair.core.execution import StepResult, Usage

SIZE_MB = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here; the test with a limited file size covers the same code")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"0" * 2**12):
            pass
    return ballast


@pytest.mark.parametrize("size", [1000, PART_BYTES // 2, PART_BYTES + 1])
def test_full_disk_keeps_nothing_and_works_again_with_space(small_disk: Path, tmp_path: Path, size: int) -> None:
    store = ArtifactStore((small_disk / "store").as_uri())
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_bytes(b"w" * size)
    kept = store.put_bytes(b"kept before")
    ballast = fill(small_disk)

    with pytest.raises(StorageFull):
        store.put_tree(tmp_path / "model")

    assert [p.name for p in (small_disk / "store").rglob("*") if p.is_file()] == [kept.digest[7:]]
    ballast.unlink()
    tree = store.put_tree(tmp_path / "model")
    assert (store.materialize(tree.digest) / "weights").stat().st_size == size


def test_result_is_not_committed_on_a_full_disk(small_disk: Path) -> None:
    store = ArtifactStore((small_disk / "store").as_uri())
    result = StepResult("k", "embed", {}, {"note": "n" * 10_000}, Usage(), {})
    ballast = fill(small_disk)

    with pytest.raises(StorageFull):
        store.commit_result(result)

    assert store.get_result("k") is None
    ballast.unlink()
    assert store.commit_result(result) == store.get_result("k") == result


def test_checkpoint_on_a_full_disk_leaves_the_last_one(small_disk: Path, tmp_path: Path) -> None:
    store = ArtifactStore((small_disk / "store").as_uri())
    for name, size in (("first", 1000), ("second", PART_BYTES + 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state").write_bytes(b"s" * size)
    store.put_checkpoint("k", 1, tmp_path / "first")
    fill(small_disk)

    with pytest.raises(StorageFull):
        store.put_checkpoint("k", 2, tmp_path / "second")

    records = store.checkpoints("k")
    assert [record.step for record in records] == [1]
    assert (store._checkpoint_areas[records[0].digest]).entries(records[0].digest)["state"].size_bytes == 1000


def test_local_copy_on_a_full_disk_is_not_half_there(small_disk: Path, bucket: str, tmp_path: Path) -> None:
    store = ArtifactStore(f"s3://{bucket}", cache_dir=small_disk)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_bytes(b"w" * (PART_BYTES + 1))
    tree = store.put_tree(tmp_path / "model")
    ballast = fill(small_disk)

    with pytest.raises(StorageFull):
        store.materialize(tree.digest)

    assert not [p for p in small_disk.rglob("*") if p.is_file() and p != ballast]
    ballast.unlink()
    assert (store.materialize(tree.digest) / "weights").stat().st_size == PART_BYTES + 1


def test_limited_file_size_counts_as_full(tmp_path: Path) -> None:
    """A quota on file size gives EFBIG; it needs no file system of its own."""
    program = """
        import resource, sys
        from llm_repair.artifacts.store import ArtifactStore
        from llm_repair.core.errors import StorageFull
        store = ArtifactStore(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            store.put_bytes(b"x" * 200_000)
        except StorageFull:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(store.put_bytes(b"x" * 200_000).digest)
    """
    url = (tmp_path / "store").as_uri()

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), url], capture_output=True, text=True, check=True
    )

    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000
    assert len(ArtifactStore(url).get_bytes(done.stdout.strip())) == 200_000
    with pytest.raises(ArtifactNotFound):
        ArtifactStore(url).get_bytes("sha256:" + "0" * 64)
