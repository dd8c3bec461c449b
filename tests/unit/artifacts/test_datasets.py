"""Rows in the store, read all at once or one at a time."""

from pathlib import Path

import pytest

from llm_repair.artifacts.datasets import Row, iterate_rows, read_rows, row_line, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ArtifactNotFound, DatasetInvalid

ROWS = [Row("b", prompt="p", chosen="c", extra={"source": [1, None]}), Row("a", prompt="\u2028 \x85 line", chosen="é")]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'store'}")


def test_rows_come_back_one_at_a_time_as_they_do_all_at_once(store: ArtifactStore) -> None:
    digest = write_rows(store, ROWS).digest

    assert list(iterate_rows(store, digest)) == read_rows(store, digest) == [ROWS[1], ROWS[0]]


def test_rows_are_read_as_they_are_asked_for(store: ArtifactStore) -> None:
    """The second line is no row, and nobody asks for it."""
    digest = store.put_bytes(row_line(ROWS[0]) + b"no row\n").digest

    rows = iterate_rows(store, digest)

    assert next(rows) == ROWS[0]
    with pytest.raises(DatasetInvalid) as refused:
        next(rows)
    assert refused.value.metadata == {"line": "2", "digest": digest}


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a")])
def test_ids_that_do_not_ascend_are_refused_by_line(ids: tuple[str, str], store: ArtifactStore) -> None:
    digest = store.put_bytes(b"".join(row_line(Row(name)) for name in ids)).digest

    with pytest.raises(DatasetInvalid) as refused:
        list(iterate_rows(store, digest))
    assert refused.value.metadata["line"] == "2"


def test_a_tree_is_no_data_set(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("text")
    digest = store.put_tree(tmp_path / "tree").digest

    with pytest.raises(DatasetInvalid):
        next(iterate_rows(store, digest))


def test_a_digest_that_is_not_there_is_refused(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound):
        next(iterate_rows(store, "sha256:" + "0" * 64))
