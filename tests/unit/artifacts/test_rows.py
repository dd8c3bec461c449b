from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from llm_repair.artifacts.datasets import Row, read_rows, write_rows
from llm_repair.artifacts.rows import ImportedRows, hash_fraction, rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.references import DatasetFormat, DatasetKind, DatasetRef, FieldMap, HashSlice, normalized

REF = "file:/data/rows.jsonl"
PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def json_lines(path: Path, rows: list[object]) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


def imported(path: Path, kind: DatasetKind = DatasetKind.POOL, **options: object) -> ImportedRows:
    source = DatasetRef(REF, **options)  # type: ignore[arg-type]
    return rows_from(read_records(path, source.format), source, kind)


def test_rows_are_stored_sorted_by_id_and_come_back(folder_store: ArtifactStore) -> None:
    rows = [Row("b", prompt="p", chosen="c\nc", extra={"n": 1, "list": [None, 1.5]}), Row("a", text="größe \u2028")]

    artifact = write_rows(folder_store, rows)

    assert read_rows(folder_store, artifact.digest) == [rows[1], rows[0]]
    assert folder_store.get_bytes(artifact.digest).decode() == (
        '{"id":"a","text":"größe \u2028"}\n{"chosen":"c\\nc","id":"b","list":[null,1.5],"n":1,"prompt":"p"}\n'
    )
    assert write_rows(folder_store, reversed(rows)) == artifact


@pytest.mark.parametrize("rows", [[Row("a"), Row("a", text="t")], [Row("")], [Row("a", text="\ud800")]])
def test_rows_that_cannot_be_told_apart_or_stored_are_refused(folder_store: ArtifactStore, rows: list[Row]) -> None:
    with pytest.raises(DatasetInvalid):
        write_rows(folder_store, rows)


def test_extra_column_named_like_a_field_is_refused(folder_store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="prompt"):
        write_rows(folder_store, [Row("a", extra={"prompt": "p"})])


@pytest.mark.parametrize("data", [b"\x00\x01", b"[]\n", b'{"id":1}\n', b'{"prompt":"p"}\n', b'{"id":"a","text":3}\n'])
def test_blob_that_is_no_data_set_is_refused(folder_store: ArtifactStore, data: bytes) -> None:
    artifact = folder_store.put_bytes(data)

    with pytest.raises(DatasetInvalid):
        read_rows(folder_store, artifact.digest)


def test_order_of_the_source_never_matters(tmp_path: Path, folder_store: ArtifactStore) -> None:
    rows: list[object] = [{"id": f"r{i % 40}", "prompt": f"prompt {i % 45}", "chosen": "c", "n": i} for i in range(60)]
    digests = set[str]()
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        kept = imported(json_lines(tmp_path / "rows.jsonl", rows), max_bad_row_share=0.9, max_rows=20)
        digests.add(write_rows(folder_store, kept.rows).digest)

    assert len(digests) == 1


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "prompt": f'p "{i}",\nnext', "chosen": "größe", "source": "web"} for i in range(3)]
    plain = json_lines(tmp_path / "a.jsonl", list(rows))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "data").write_bytes(plain.read_bytes())

    expected = imported(plain).rows

    assert len(expected) == 3
    assert expected[0].extra == {"source": "web"}
    for name in ("a.jsonl.gz", "a.csv", "a.parquet"):
        assert imported(tmp_path / name).rows == expected
    assert imported(tmp_path / "data", format=DatasetFormat.JSONL).rows == expected


def test_plain_lines_are_prompts_or_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \n")

    assert sorted(row.prompt for row in imported(tmp_path / "a.txt", DatasetKind.PROMPTS).rows) == ["one", "two"]
    assert sorted(row.text for row in imported(tmp_path / "a.txt", DatasetKind.TEXTS).rows) == ["one", "two"]


def test_every_fault_is_counted_and_named_by_row_and_never_quoted(tmp_path: Path) -> None:
    path = json_lines(
        tmp_path / "rows.jsonl",
        [
            PAIR,
            {"prompt": "SECRET"},
            {"prompt": " ", "chosen": "SECRET"},
            {"prompt": 3, "chosen": "SECRET"},
            b'{"prompt": "SECRET\xff", "chosen": "c"}\n',
            b"\n",
            b"SECRET\n",
            ["SECRET"],
            b'{"prompt": "SECRET \\ud800", "chosen": "c"}\n',
            {**PAIR, "rejected": 5},
            {**PAIR, "id": {"SECRET": 1}},
            {**PAIR, "note": "\ud800 SECRET"},
            b"\n\n",
        ],
    )

    with pytest.raises(DatasetInvalid) as caught:
        imported(path, max_bad_row_share=0.5)

    assert caught.value.metadata == {"bad_rows": "11", "total_rows": "12", "first_rows": "2,3,4,5,6,7,8,9,10,11"}
    assert "row 2: chosen: missing; row 3: prompt: empty; row 4: prompt: not text; row 5: not UTF-8" in str(
        caught.value
    )
    assert "row 6: empty row; row 7: not JSON; row 8: not a JSON object; row 9: prompt: not UTF-8" in str(caught.value)
    assert "row 10: rejected: not text; row 11: id: not a usable id" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_bad_rows_up_to_the_tolerated_share_are_left_out(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "rows.jsonl", [*({**PAIR, "prompt": f"p{i}"} for i in range(9)), {"prompt": "p"}])

    found = imported(path, max_bad_row_share=0.1)

    assert (len(found.rows), found.total, [row.number for row in found.bad]) == (9, 10, [10])
    with pytest.raises(DatasetInvalid):
        imported(path, max_bad_row_share=0.09)


def test_csv_faults_are_counted_by_record(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'prompt,chosen\na,b\n"a\nb",c\nonly\n\xff,b\n\na,b,c\n')

    found = imported(tmp_path / "a.csv", max_bad_row_share=0.9)

    assert [(row.number, row.fault) for row in found.bad] == [
        (3, "wrong number of columns"),
        (4, "prompt: not UTF-8"),
        (5, "empty row"),
        (6, "wrong number of columns"),
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl.gz", b"not gzip"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99)[:-9]),
        ("a.parquet", b"PAR1 not really"),
        ("a.csv", b'prompt,chosen\n"unclosed,b\n'),
        ("a.csv", b"prompt,prompt\na,b\n"),
        ("a.xls", b""),
        ("a.jsonl", b""),
        ("a.csv", b""),
        ("a.txt", b"\n"),
    ],
)
def test_file_that_is_not_of_its_format_or_empty_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(DatasetInvalid):
        imported(tmp_path / name)


def test_line_that_would_exhaust_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"x" * (17 * 2**20)))

    with pytest.raises(DatasetInvalid, match="too long"):
        imported(tmp_path / "a.jsonl.gz")


def test_missing_id_is_the_hash_of_the_content(tmp_path: Path) -> None:
    """sha256 of {"chosen":"c","prompt":"p","rejected":"r"}, RFC 8785, first 32 digits; other columns do not count."""
    expected = hashlib.sha256(b'{"chosen":"c","prompt":"p","rejected":"r"}').hexdigest()[:32]
    path = json_lines(tmp_path / "rows.jsonl", [{**PAIR, "n": 1}, {**PAIR, "n": 2}, {**PAIR, "id": None}, PAIR])

    found = imported(path)

    assert [row.id for row in found.rows] == [expected]
    assert found.duplicates == 3
    assert found.bad == ()


def test_rows_that_share_an_id_but_differ_are_bad_all_but_one(tmp_path: Path) -> None:
    rows: list[object] = [{**PAIR, "id": 7, "chosen": letter} for letter in "bcab"]

    found = imported(json_lines(tmp_path / "rows.jsonl", rows), max_bad_row_share=0.8)

    assert [(row.id, row.chosen) for row in found.rows] == [("7", "a")]
    assert [row.number for row in found.bad] == [1, 2, 4]


UNPAIRED = DatasetKind.UNPAIRED_POOL


def test_an_unpaired_pool_has_rows_of_either_side_or_both(tmp_path: Path) -> None:
    rows: list[object] = [
        {"id": "a", "prompt": "p", "chosen": "c"},
        {"id": "b", "prompt": "p", "rejected": "r", "chosen": None},
        {"id": "c", **PAIR},
        {"id": "d", "prompt": "p", "chosen": " ", "rejected": "r"},
    ]

    found = imported(json_lines(tmp_path / "rows.jsonl", rows), UNPAIRED)

    assert [(row.chosen, row.rejected) for row in found.rows] == [("c", ""), ("", "r"), ("c", "r"), ("", "r")]
    with pytest.raises(DatasetInvalid, match=r"row 2: chosen: missing; row 4: chosen: empty"):
        imported(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(("label", "side"), [(True, "chosen"), (False, "rejected"), (1, "chosen"), (0, "rejected")])
def test_a_labelled_completion_is_what_its_label_says(tmp_path: Path, label: object, side: str) -> None:
    rows: list[object] = [{"id": "a", "prompt": "p", "completion": "text", "label": label, "source": "web"}]

    (row,) = imported(json_lines(tmp_path / "rows.jsonl", rows), UNPAIRED).rows

    assert {"chosen": row.chosen, "rejected": row.rejected} == {"chosen": "", "rejected": "", side: "text"}
    assert row.extra == {"source": "web"}


def test_labels_of_csv_are_words_and_columns_may_have_other_names(tmp_path: Path) -> None:
    lines = ["key,question,answer,fine", "a,p,one,True", "b,p,two,false", "c,p,three,1", "d,p,four, 0 "]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    fields = FieldMap(id="key", prompt="question", completion="answer", label="fine")

    found = imported(tmp_path / "rows.csv", UNPAIRED, fields=fields)

    sides = [(row.id, row.prompt, row.chosen, row.rejected, row.extra) for row in found.rows]
    assert sides == [
        ("a", "p", "one", "", {}),
        ("b", "p", "", "two", {}),
        ("c", "p", "three", "", {}),
        ("d", "p", "", "four", {}),
    ]


def test_one_completion_under_both_labels_is_two_rows(tmp_path: Path) -> None:
    rows: list[object] = [{"prompt": "p", "completion": "c", "label": label} for label in (True, False, True)]

    found = imported(json_lines(tmp_path / "rows.jsonl", rows), UNPAIRED)

    assert {(row.chosen, row.rejected) for row in found.rows} == {("c", ""), ("", "c")}
    assert found.duplicates == 1


def test_a_row_with_a_side_keeps_completion_and_label_as_other_columns(tmp_path: Path) -> None:
    rows: list[object] = [{**PAIR, "completion": "x", "label": "news"}]

    for kind in (DatasetKind.POOL, UNPAIRED):
        (row,) = imported(json_lines(tmp_path / "rows.jsonl", rows), kind).rows
        assert (row.chosen, row.extra) == ("c", {"completion": "x", "label": "news"})


def test_unpaired_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    secret = "unspeakable"
    rows: list[object] = [
        {"prompt": secret, "completion": secret, "label": True},
        {"prompt": secret},
        {"prompt": secret, "completion": " ", "label": True},
        {"prompt": secret, "completion": secret},
        {"prompt": secret, "completion": secret, "label": "good"},
        {"prompt": secret, "completion": secret, "label": 2},
        {"prompt": secret, "completion": 5, "label": False},
        {"prompt": secret, "chosen": 5},
    ]

    with pytest.raises(DatasetInvalid) as caught:
        imported(json_lines(tmp_path / "rows.jsonl", rows), UNPAIRED)

    assert caught.value.message.partition(": ")[2] == (
        "row 2: no continuation; row 3: no continuation; row 4: label: neither true nor false; "
        "row 5: label: neither true nor false; row 6: label: neither true nor false; row 7: rejected: not text; "
        "row 8: chosen: not text"
    )
    assert secret not in caught.value.message


def test_equal_prompts_with_other_ids_are_kept_but_equal_texts_are_one_document(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"id": str(i), "prompt": "Same", "text": t} for i, t in enumerate("aAb")])

    assert len(imported(path, DatasetKind.PROMPTS).rows) == 3
    texts = imported(path, DatasetKind.TEXTS)
    assert ([row.text for row in texts.rows], texts.duplicates) == (["a", "b"], 1)


def test_field_map_renames_columns_and_passes_the_others(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"key": 5, "question": "q", "answer": "a", "topic": "t", "text": "x"}])

    found = imported(path, fields=FieldMap(id="key", prompt="question", chosen="answer"))

    assert found.rows == (Row("5", prompt="q", chosen="a", extra={"topic": "t"}),)


def test_normalized_text_is_nfkc_lower_case_and_single_blanks() -> None:
    assert normalized("  Ａ\tB\n\u00a0ﬁ  ") == "a b fi"


def test_slice_is_by_hash_of_the_normalised_prompt() -> None:
    """First 8 bytes of sha256("abc") are ba7816bf8f01cfea (FIPS 180-2), as a fraction of 2**64."""
    expected = int("ba7816bf8f01cfea", 16) / 2**64

    assert hash_fraction(Row("1", prompt=" ABC ", text="other")) == expected
    assert hash_fraction(Row("2", text="abc")) == expected


def test_slices_part_the_rows_without_overlap(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"id": str(i), "prompt": f"p{i // 2}"} for i in range(400)])
    whole = imported(path, DatasetKind.PROMPTS)

    parts = [
        imported(path, DatasetKind.PROMPTS, slice=HashSlice(start, end)).rows
        for start, end in ((0.0, 0.25), (0.25, 0.6), (0.6, 1.0))
    ]

    assert sorted(row.id for part in parts for row in part) == sorted(row.id for row in whole.rows)
    assert 60 <= len(parts[0]) <= 140
    prompts = [{row.prompt for row in part} for part in parts]
    assert not prompts[0] & prompts[1] and not prompts[1] & prompts[2] and not prompts[0] & prompts[2]


def test_max_rows_keeps_the_smallest_hashes(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"id": str(i), "prompt": f"p{i}"} for i in range(50)])
    everything = sorted(imported(path, DatasetKind.PROMPTS).rows, key=hash_fraction)

    kept = imported(path, DatasetKind.PROMPTS, max_rows=7).rows

    assert {row.id for row in kept} == {row.id for row in everything[:7]}
    assert [row.id for row in kept] == sorted(row.id for row in kept)


def test_slice_without_rows_is_refused(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [{"prompt": "abc"}])

    with pytest.raises(DatasetInvalid, match="no usable row"):
        imported(path, DatasetKind.PROMPTS, slice=HashSlice(0.0, 0.5))


def test_parquet_values_that_json_lacks_become_text_or_null(tmp_path: Path) -> None:
    import datetime
    import decimal

    row = {
        "prompt": "p",
        "day": datetime.date(2024, 2, 29),
        "price": decimal.Decimal("1.50"),
        "score": float("nan"),
        "raw": b"\xff",
        "nested": [{"when": datetime.date(2024, 1, 1)}],
    }
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "a.parquet")

    found = imported(tmp_path / "a.parquet", DatasetKind.PROMPTS)

    assert found.rows[0].extra == {
        "day": "2024-02-29", "price": "1.50", "score": None, "raw": None, "nested": [{"when": "2024-01-01"}]
    }  # fmt: skip


def test_invalid_utf8_in_parquet_spoils_its_row_only(tmp_path: Path) -> None:
    bad = arrow.Array.from_buffers(
        arrow.string(), 2, [None, arrow.py_buffer(b"\0\0\0\0\x01\0\0\0\x02\0\0\0"), arrow.py_buffer(b"a\xff")]
    )
    parquet.write_table(arrow.table({"prompt": bad}), tmp_path / "a.parquet")

    found = imported(tmp_path / "a.parquet", DatasetKind.PROMPTS, max_bad_row_share=0.5)

    assert [row.prompt for row in found.rows] == ["a"]
    assert [(row.number, row.fault) for row in found.bad] == [(2, "not UTF-8")]
