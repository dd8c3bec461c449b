"""The contract of the store, on a folder and on a bucket."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_repair.artifacts.objects import PART_BYTES
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    InvalidFields,
    StorageUnavailable,
)
from llm_repair.core.execution import Artifact, StepResult, Usage

# sha256 of the three bytes "abc", FIPS 180-2, appendix B.1.
ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ABSENT = "sha256:" + "0" * 64
KEY = "a" * 64


def result(attempt: str, key: str = KEY) -> StepResult:
    usage = Usage(wall_s=1.5, cpu_s=2.0, tokens=3, written_bytes=4)
    return StepResult(key, "embed", {"out": Artifact(ABC, 3)}, {"rows": 7, "share": 1.0}, usage, {"attempt": attempt})


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_blob_is_filed_under_the_sha256_of_its_bytes(store: ArtifactStore) -> None:
    artifact = store.put_bytes(b"abc")

    assert artifact == Artifact(ABC, 3)
    assert store.get_bytes(ABC) == b"abc"
    assert store.stat(ABC) == artifact
    assert store.materialize(ABC).read_bytes() == b"abc"


def test_empty_blob_is_a_blob(store: ArtifactStore) -> None:
    artifact = store.put_bytes(b"")

    assert store.get_bytes(artifact.digest) == b""
    assert store.materialize(artifact.digest).read_bytes() == b""


def test_large_file_goes_up_in_parts_and_comes_back_whole(store: ArtifactStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * (PART_BYTES // 128)
    (tmp_path / "large").write_bytes(data)

    artifact = store.put_file(tmp_path / "large")

    assert artifact == Artifact(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    assert store.materialize(artifact.digest).read_bytes() == data
    assert b"".join(store.chunks(artifact.digest)) == data


def test_large_file_of_a_given_folder_is_moved(folder_store: ArtifactStore, tmp_path: Path) -> None:
    large = bytes(range(256)) * (PART_BYTES // 128)
    folder = folder_of(tmp_path / "given", {"large": large, "small": b"s"})
    inode = (folder / "large").stat().st_ino

    tree = folder_store.put_tree(folder, given=True)

    kept = folder_store.materialize(tree.digest)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"large": large, "small": b"s"}
    blob = (tmp_path / "store").rglob(hashlib.sha256(large).hexdigest())
    found = next(path for path in blob if path.is_file()).stat()
    assert found.st_ino == inode
    assert found.st_mode & 0o777 == 0o444
    assert not (folder / "large").exists()


def test_given_folder_of_content_that_is_stored_leaves_it_where_it_is(store: ArtifactStore, tmp_path: Path) -> None:
    files = {"large": b"x" * (PART_BYTES + 1)}
    first = store.put_tree(folder_of(tmp_path / "first", files))

    second = store.put_tree(folder_of(tmp_path / "second", files), given=True)

    assert second == first
    assert (tmp_path / "first" / "large").read_bytes() == files["large"]
    assert (store.materialize(second.digest) / "large").read_bytes() == files["large"]


def test_given_folder_of_another_file_system_is_copied(folder_store: ArtifactStore, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        folder = folder_of(Path(elsewhere) / "given", {"large": b"y" * (PART_BYTES + 1)})
        if folder.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is only one file system here")

        tree = folder_store.put_tree(folder, given=True)

    assert (folder_store.materialize(tree.digest) / "large").read_bytes() == b"y" * (PART_BYTES + 1)


def test_file_that_is_stored_already_is_not_written_again(folder_store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (PART_BYTES + 1))
    artifact = folder_store.put_file(tmp_path / "large")
    before = folder_store.materialize(artifact.digest).stat()

    folder_store.put_file(tmp_path / "large")

    assert folder_store.materialize(artifact.digest).stat().st_ino == before.st_ino


@pytest.mark.parametrize("digest", [ABSENT, "sha256:abc", "sha256:../../../etc/passwd", "", ABC.upper()])
def test_unknown_digest_is_not_found(store: ArtifactStore, digest: str) -> None:
    for ask in (store.get_bytes, store.stat, store.entries, store.materialize):
        with pytest.raises(ArtifactNotFound):
            ask(digest)


def test_tree_comes_back_with_its_paths(store: ArtifactStore, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "part/one": b"1", "part/two": b"2", "größe": b""}

    tree = store.put_tree(folder_of(tmp_path / "model", files))
    folder = store.materialize(tree.digest)

    assert tree.is_tree
    assert store.stat(tree.digest) == tree
    assert tree.size_bytes == 4
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files
    assert list(store.entries(tree.digest)) == sorted(files)


def test_digest_of_a_tree_depends_on_names_and_content_only(store: ArtifactStore, tmp_path: Path) -> None:
    one = store.put_tree(folder_of(tmp_path / "one", {"b": b"2", "a": b"1"}))
    (folder_of(tmp_path / "two", {"a": b"1", "b": b"2"}) / "empty").mkdir()
    (tmp_path / "two/a").chmod(0o777)

    assert store.put_tree(tmp_path / "two") == one
    assert store.put_tree(folder_of(tmp_path / "three", {"a": b"1", "c": b"2"})).digest != one.digest


def test_tree_of_stored_blobs_shares_them(store: ArtifactStore, tmp_path: Path) -> None:
    tree = store.put_tree(folder_of(tmp_path / "model", {"weights": b"w"}))
    card = store.put_bytes(b"card")

    published = store.put_entries({**store.entries(tree.digest), "README.md": card})

    assert store.entries(published.digest)["weights"] == store.entries(tree.digest)["weights"]
    assert (store.materialize(published.digest) / "README.md").read_bytes() == b"card"


def test_tree_of_a_blob_that_is_not_stored_is_refused(store: ArtifactStore) -> None:
    stored = store.put_bytes(b"abc")

    for wrong in (Artifact(ABSENT, 3), dataclasses.replace(stored, size_bytes=4)):
        with pytest.raises(ArtifactNotFound):
            store.put_entries({"file": wrong})


@pytest.mark.parametrize(
    "name", ["../out", "/abs", "a/../b", "a//b", ".", "", "a\\b", "a\0b", "a\nb", "x/", "\udcff", "a/b/../../../c"]
)
def test_tree_path_that_could_leave_its_folder_is_refused(store: ArtifactStore, name: str) -> None:
    blob = store.put_bytes(b"abc")

    with pytest.raises(InvalidFields):
        store.put_entries({name: blob})


def test_all_bad_tree_paths_are_named_at_once(folder_store: ArtifactStore) -> None:
    blob = folder_store.put_bytes(b"abc")

    with pytest.raises(InvalidFields) as caught:
        folder_store.put_entries({"../out": blob, "ok": blob, "ok/below": blob})

    assert len(caught.value.violations) == 2


def test_tree_with_a_link_is_refused(folder_store: ArtifactStore, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"a": b"1"})
    (folder / "link").symlink_to("/etc/hostname")

    with pytest.raises(InvalidFields):
        folder_store.put_tree(folder)


def test_first_committed_result_stands(store: ArtifactStore) -> None:
    assert store.get_result(KEY) is None

    first = store.commit_result(result("first"))
    second = store.commit_result(result("second"))

    assert first == result("first")
    assert second == result("first")
    assert store.get_result(KEY) == result("first")


def test_racing_commits_have_one_winner(store: ArtifactStore) -> None:
    start = threading.Barrier(8)

    def commit(attempt: int) -> StepResult:
        start.wait()
        return store.commit_result(result(str(attempt)))

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(commit, range(8)))

    assert len({str(winner.provenance["attempt"]) for winner in seen}) == 1
    assert store.get_result(KEY) == seen[0]


def test_result_with_nan_is_refused(folder_store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder_store.commit_result(dataclasses.replace(result("a"), summary={"loss": float("nan")}))

    assert folder_store.get_result(KEY) is None


@pytest.mark.parametrize("key", ["../x", "a/b", "", ".", "a b", "x" * 129])
def test_key_that_is_no_name_is_refused(folder_store: ArtifactStore, key: str) -> None:
    with pytest.raises(InvalidFields):
        folder_store.get_result(key)


def test_projects_do_not_see_each_other(store_url: str, tmp_path: Path) -> None:
    one = ArtifactStore(store_url, project="one", cache_dir=tmp_path / "cache")
    two = ArtifactStore(store_url, project="two", cache_dir=tmp_path / "cache")
    blob = one.put_bytes(b"abc")
    one.commit_result(result("first"))

    with pytest.raises(ArtifactNotFound):
        two.materialize(blob.digest)
    assert two.get_result(KEY) is None


def test_checkpoints_come_newest_first_and_are_bounded(store: ArtifactStore, tmp_path: Path) -> None:
    for step in (5, 10, 200):
        store.put_checkpoint(KEY, step, folder_of(tmp_path / str(step), {"state": b"%d" % step, "same": b"s"}), keep=2)

    records = store.checkpoints(KEY)

    assert [record.step for record in records] == [200, 10]
    assert (store.materialize(records[0].digest) / "state").read_bytes() == b"200"
    assert (store.materialize(records[1].digest) / "same").read_bytes() == b"s"


def test_folder_of_a_checkpoint_stays_whole_unless_it_is_given(folder_store: ArtifactStore, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "state", {"large": b"z" * (PART_BYTES + 1)})

    folder_store.put_checkpoint(KEY, 1, folder)
    assert (folder / "large").exists()
    (folder / "large").write_bytes(b"y" * (PART_BYTES + 1))
    folder_store.put_checkpoint(KEY, 2, folder, keep=1, given=True)
    assert not (folder / "large").exists()

    (record,) = folder_store.checkpoints(KEY)
    assert (folder_store.materialize(record.digest) / "large").stat().st_size == PART_BYTES + 1


def test_dropped_checkpoints_free_their_space(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "store").as_uri())
    for step in range(5):
        store.put_checkpoint(KEY, step, folder_of(tmp_path / str(step), {"state": b"%d" % step * 1000}), keep=1)
        store.materialize(store.checkpoints(KEY)[0].digest)

    large = [p for p in (tmp_path / "store").rglob("*") if p.is_file() and p.stat().st_size == 1000]

    assert len({p.stat().st_ino for p in large}) == 1


def test_checkpoints_go_when_the_result_is_committed(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_checkpoint(KEY, 1, folder_of(tmp_path / "1", {"state": b"1"}))

    store.commit_result(result("a"))

    assert store.checkpoints(KEY) == []


def checkpoint(store: ArtifactStore, folder: Path, step: int, content: bytes, **limits: int) -> None:
    store.put_checkpoint(KEY, step, folder_of(folder / f"{step}-{len(content)}", {"state": content}), **limits)


def test_torn_checkpoint_is_listed_and_found_torn_when_it_is_read(tmp_path: Path) -> None:
    """Of four, one has lost a blob, one its manifest, and one the end of its record."""
    store = ArtifactStore((tmp_path / "store").as_uri())
    for step in (1, 2, 3, 4):
        checkpoint(store, tmp_path, step, b"%d" % step * 10, keep=4)
    whole = store.checkpoints(KEY)
    blob = next(p for p in (tmp_path / "store").rglob("blobs/*/*/*") if p.read_bytes() == b"2" * 10)
    blob.unlink()
    next((tmp_path / "store").rglob(f"trees/*/*/{whole[1].digest.removeprefix('sha256:')}")).unlink()
    next((tmp_path / "store").rglob("000000000004")).write_text('{"step": 4')

    records = store.checkpoints(KEY)

    assert [record.step for record in records] == [4, 3, 2, 1]
    for torn in records[:3]:
        with pytest.raises(ArtifactNotFound):
            store.materialize(torn.digest)
    assert (store.materialize(records[3].digest) / "state").read_bytes() == b"1" * 10
    store.commit_result(result("a"))
    assert store.checkpoints(KEY) == []


def test_later_checkpoints_do_not_push_out_the_one_that_is_stored(tmp_path: Path) -> None:
    """An attempt that has refused 20 and 30 starts over; as it passes them, they go."""
    store = ArtifactStore((tmp_path / "store").as_uri())
    listed = []
    for step in (20, 30, 5, 10, 15, 25, 35):
        checkpoint(store, tmp_path, step, b"%d" % step)
        listed.append([record.step for record in store.checkpoints(KEY)])

    assert listed == [[20], [30, 20], [30, 20, 5], [30, 20, 10, 5], [30, 20, 15, 10], [30, 25, 20], [35, 30]]


def test_checkpoint_that_is_made_again_frees_the_space_of_the_other(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "store").as_uri())
    checkpoint(store, tmp_path, 1, b"first" * 100)
    checkpoint(store, tmp_path, 1, b"second" * 100)

    sizes = {p.stat().st_size for p in (tmp_path / "store").rglob("blobs/*/*/*")}

    assert sizes == {600}


def test_partial_of_a_cancelled_attempt_is_no_result(store: ArtifactStore, tmp_path: Path) -> None:
    artifact = store.put_partial(KEY, "attempt-1", folder_of(tmp_path / "partial", {"best": b"b"}))

    assert store.get_result(KEY) is None
    assert store.partials(KEY) == {"attempt-1": artifact}
    assert (store.materialize(artifact.digest) / "best").read_bytes() == b"b"


def test_what_attempts_left_is_listed_the_newest_last(store: ArtifactStore, tmp_path: Path) -> None:
    left = [
        store.put_partial(KEY, name, folder_of(tmp_path / name, {"best": name.encode()})) for name in ("z", "b", "k")
    ]

    assert list(store.partials(KEY).items()) == list(zip(("z", "b", "k"), left, strict=True))


def test_partial_outlives_the_checkpoint_it_equals(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_checkpoint(KEY, 1, folder_of(tmp_path / "1", {"state": b"1"}))
    store.materialize(store.checkpoints(KEY)[0].digest)
    partial = store.put_partial(KEY, "attempt", tmp_path / "1")

    store.commit_result(result("a"))

    assert store.stat(partial.digest) == partial
    assert (store.materialize(partial.digest) / "state").read_bytes() == b"1"


def test_flipped_byte_is_never_read(tmp_path: Path) -> None:
    """A disk that changes one bit of a blob is noticed by every way to read it, also one that was fine before."""
    store = ArtifactStore((tmp_path / "store").as_uri())
    tree = store.put_tree(folder_of(tmp_path / "model", {"weights": b"w" * 100}))
    blob = store.entries(tree.digest)["weights"]
    stored = store.materialize(blob.digest)
    store.materialize(tree.digest)

    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.seek(50)
        file.write(b"x")

    for ask in (store.get_bytes, store.materialize):
        with pytest.raises(ArtifactCorrupt):
            ask(blob.digest)
    with pytest.raises(ArtifactCorrupt):
        store.materialize(tree.digest)
    with pytest.raises(ArtifactCorrupt):
        list(store.chunks(blob.digest))


def test_storing_again_heals_a_spoilt_blob(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "store").as_uri())
    stored = store.materialize(store.put_bytes(b"abc").digest)
    stored.chmod(0o644)
    stored.write_bytes(b"abx")

    store.put_bytes(b"abc")

    assert store.get_bytes(ABC) == b"abc"
    assert store.materialize(ABC).read_bytes() == b"abc"


def test_spoilt_local_copy_is_made_again(bucket: str, tmp_path: Path) -> None:
    store = ArtifactStore(f"s3://{bucket}", cache_dir=tmp_path / "cache")
    tree = store.put_tree(folder_of(tmp_path / "model", {"weights": b"w" * 100}))
    copy = store.materialize(tree.digest) / "weights"
    copy.chmod(0o644)
    copy.write_bytes(b"x" * 100)
    (copy.parent / "more").write_bytes(b"planted")

    folder = store.materialize(tree.digest)

    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("weights", b"w" * 100)]


def test_manifest_that_does_not_verify_is_corrupt(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "store").as_uri())
    tree = store.put_tree(folder_of(tmp_path / "model", {"a": b"1"}))
    manifest = next((tmp_path / "store").rglob(f"trees/sha256/*/{tree.digest[7:]}"))
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b'"a"', b'"b"'))

    with pytest.raises(ArtifactCorrupt):
        store.materialize(tree.digest)


def test_result_torn_by_a_power_cut_is_redone(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "store").as_uri())
    store.commit_result(result("first"))
    next((tmp_path / "store").rglob(f"results/{KEY}")).write_bytes(b'{"key":')

    assert store.get_result(KEY) is None
    assert store.commit_result(result("second")) == result("second")
    assert store.get_result(KEY) == result("second")


def test_materialized_files_are_links_into_a_local_store(folder_store: ArtifactStore, tmp_path: Path) -> None:
    tree = folder_store.put_tree(folder_of(tmp_path / "model", {"weights": b"w" * 100}))
    blob = folder_store.entries(tree.digest)["weights"]

    file = folder_store.materialize(tree.digest) / "weights"

    assert file.samefile(folder_store.materialize(blob.digest))
    assert file.stat().st_mode & 0o222 == 0


def test_file_that_changes_while_it_is_stored_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_repair.artifacts import blobs

    store = ArtifactStore((tmp_path / "store").as_uri())
    file = tmp_path / "growing"
    file.write_bytes(b"x" * (PART_BYTES + 1))
    hash_first = blobs.digest_of_file

    def change_after_hashing(path: Path) -> str:
        digest = hash_first(path)
        path.write_bytes(b"y" * (PART_BYTES + 1))
        return digest

    monkeypatch.setattr(blobs, "digest_of_file", change_after_hashing)

    with pytest.raises(ArtifactCorrupt):
        store.put_file(file)
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_unreachable_bucket_is_unavailable(unreachable: str, tmp_path: Path) -> None:
    store = ArtifactStore(unreachable, cache_dir=tmp_path)

    with pytest.raises(StorageUnavailable):
        store.put_bytes(b"abc")


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "s3://"])
def test_url_of_no_known_form_is_refused(url: str) -> None:
    with pytest.raises(StorageUnavailable):
        ArtifactStore(url)


def test_folder_name_with_blanks_and_signs_is_taken_literally(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "a store #1 100%").as_uri())

    assert store.materialize(store.put_bytes(b"abc").digest).is_relative_to(tmp_path / "a store #1 100%")
