"""`hf:` against a hub on loopback that speaks the few endpoints in use, in a process of its own.

The library reads its endpoint and offline switch when it is imported, so a child process sets them.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_repair.artifacts.hub import commit_of, download_dataset
from llm_repair.artifacts.rows import rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.core.errors import DatasetInvalid, SourceUnavailable
from llm_repair.core.references import DatasetKind, DatasetRef, FieldMap

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "modeling.py": b"boom", "pytorch_model.bin": b"boom"}


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository, `org/name`, with one commit; `org/gated` and `org/down` answer as their names say."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/org/gated"):
            self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/org/down"):
            self._answer(503, b"{}")
        elif path in ("/api/models/org/name", *(f"/api/models/org/name/revision/{r}" for r in ("main", COMMIT))):
            siblings = [{"rfilename": name} for name in FILES]
            self._answer(200, json.dumps({"id": "org/name", "sha": COMMIT, "siblings": siblings}).encode())
        elif path == f"/api/models/org/name/tree/{COMMIT}":
            files = [
                {"type": "file", "path": n, "size": len(d), "oid": f"{i:040d}"}
                for i, (n, d) in enumerate(FILES.items())
            ]
            self._answer(200, json.dumps(files).encode())
        elif path.startswith(f"/org/name/resolve/{COMMIT}/") and path.rsplit("/", 1)[-1] in FILES:
            data = FILES[path.rsplit("/", 1)[-1]]
            self._answer(200, data, {"ETag": f'"{len(data):040d}"', "X-Repo-Commit": COMMIT})
        elif path.startswith("/api/models/org/name/revision/"):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._answer(404, b"{}")

    do_HEAD = do_GET

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def in_child(endpoint: str, home: Path, program: str) -> str:
    prelude = """
        import sys
        from pathlib import Path
        from llm_repair.artifacts.references import ReferenceResolver
        from llm_repair.artifacts.store import ArtifactStore
        from llm_repair.core.errors import RepairError
        home, endpoint = Path(sys.argv[1]), sys.argv[2]
        resolver = ReferenceResolver((), ("hf",), ArtifactStore((home / "store").as_uri()), hub_endpoint=endpoint)
        def outcome(reference):
            try:
                return resolver.resolve(reference).digest
            except RepairError as error:
                return error.reason
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(program), str(home), endpoint]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_branch_becomes_a_commit_and_failures_are_told_apart(endpoint: str, tmp_path: Path) -> None:
    names = ["org/name", "org/name@main", "org/name@absent", "org/absent", "org/gated"]

    seen = in_child(endpoint, tmp_path, f"print(*[outcome('hf:' + name) for name in {names!r}])").split()

    assert seen == [COMMIT, COMMIT, "REFERENCE_NOT_FOUND", "REFERENCE_NOT_FOUND", "REFERENCE_NOT_ALLOWED"]


def test_hub_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    assert in_child("http://127.0.0.1:9", tmp_path, "print(outcome('hf:org/name'))") == "SOURCE_UNAVAILABLE"


def test_model_is_downloaded_without_code_and_pickles(endpoint: str, tmp_path: Path) -> None:
    program = f"""
        folder = resolver.fetch("hf:org/name@main", "{COMMIT}", home / "work")
        print(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")))
        print((folder / "model.safetensors").read_text())
    """

    seen = in_child(endpoint, tmp_path, program).splitlines()

    assert seen == ["['config.json', 'model.safetensors']", "weights"]


def test_offline_switch_of_the_library_is_obeyed() -> None:
    """The tests set HF_HUB_OFFLINE, as an air-gapped team would."""
    with pytest.raises(SourceUnavailable):
        commit_of("org/name", "main", is_dataset=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder laid out like a hub data set with two splits."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for split, count in (("train", 3), ("test", 2)):
        rows = [{"prompt": f"größe {split} {i}", "n": i} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_split_of_a_hub_data_set_becomes_rows(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()

    file = download_dataset(str(repository), "", tmp_path / "work", split="test")

    found = rows_from(read_records(file), DatasetRef("hf:org/name"), DatasetKind.PROMPTS)
    assert sorted((row.prompt, row.extra["n"]) for row in found.rows) == [("größe test 0", 0), ("größe test 1", 1)]
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["rows.jsonl"]


def test_classes_have_their_names_and_labels_stay_zero_or_one(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features(
        {"text": Value("string"), "kind": ClassLabel(names=["age", "race", "faith"]), "label": ClassLabel(2)}
    )
    rows = {"text": ["a", "b", "c", "d"], "kind": [2, 0, -1, None], "label": [0, 1, 1, 0]}
    (tmp_path / "repository").mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "repository" / "test.parquet")
    (tmp_path / "work").mkdir()

    file = download_dataset(str(tmp_path / "repository"), "", tmp_path / "work")

    source = DatasetRef("hf:org/name", fields=FieldMap(group="kind"))
    found = rows_from(read_records(file), source, DatasetKind.LABELLED_TEXTS)
    assert sorted((row.text, row.group, row.label) for row in found.rows) == [
        ("a", "faith", False), ("b", "age", True), ("c", "", True), ("d", "", False),
    ]  # fmt: skip


@pytest.mark.parametrize(("subset", "split"), [("", ""), ("", "absent"), ("absent", "train")])
def test_split_or_subset_that_is_not_there_is_refused(
    repository: Path, tmp_path: Path, subset: str, split: str
) -> None:
    (tmp_path / "work").mkdir()

    with pytest.raises(DatasetInvalid):
        download_dataset(str(repository), "", tmp_path / "work", subset=subset, split=split)
