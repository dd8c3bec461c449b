"""Lines of a running text, pairs of sentences, labelled texts, and groups of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.rows import ImportedRows, rows_from
from llm_repair.artifacts.source_files import read_records
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.references import DatasetKind, DatasetRef, FieldMap, HashSlice

REF = "file:/data/rows.jsonl"
ARTICLE = [" = Title = ", "", "A line .", "A line .", " ", "The end ."]


def imported(path: Path, kind: DatasetKind, **options: object) -> ImportedRows:
    source = DatasetRef(REF, **options)  # type: ignore[arg-type]
    return rows_from(read_records(path, source.format, whole_lines=kind is DatasetKind.LINES), source, kind)


def json_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(found: ImportedRows) -> list[str]:
    return [row.text for row in found.rows]


def test_lines_keep_their_order_their_repeats_and_the_blank_ones_between(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "hub.jsonl", *({"text": line} for line in ARTICLE))

    found = imported(file, DatasetKind.LINES)

    assert texts(found) == [" = Title = ", "", "A line .", "A line .", "", "The end ."]
    assert [row.id for row in found.rows] == [f"{number:09d}" for number in range(1, 7)]


@pytest.mark.parametrize("name", ["wiki.test.raw", "wiki.test.tokens", "lines.txt"])
def test_plain_file_and_hub_rows_give_the_same_lines(tmp_path: Path, name: str) -> None:
    hub = json_lines(tmp_path / "hub.jsonl", *({"text": f"{line}\n" if line.strip() else ""} for line in ARTICLE))
    (tmp_path / name).write_text("".join(f"{line}\n" for line in ARTICLE))

    plain = imported(tmp_path / name, DatasetKind.LINES)

    assert plain.rows == imported(hub, DatasetKind.LINES).rows


def test_so_many_lines_are_the_first_ones(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "hub.jsonl", *({"text": line} for line in ARTICLE))

    assert texts(imported(file, DatasetKind.LINES, max_rows=3)) == [" = Title = ", "", "A line ."]


def test_lines_are_not_divided_by_hash_and_have_a_text(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "hub.jsonl", {"text": "a"}, {"line": "b"})

    with pytest.raises(DatasetInvalid, match="max_rows"):
        imported(file, DatasetKind.LINES, slice=HashSlice(0, 0.5))
    with pytest.raises(DatasetInvalid, match="row 2: text: missing"):
        imported(file, DatasetKind.LINES)


def test_a_field_may_lie_within_an_object_as_in_real_toxicity_prompts(tmp_path: Path) -> None:
    released = {"filename": "a.txt", "prompt": {"text": "So they", "toxicity": 0.1}, "meta": {"kind": {"name": "b"}}}
    fields = FieldMap(prompt="prompt.text", group="meta.kind.name")
    bare = {"prompt": {"toxicity": 0.1}}

    (row,) = imported(json_lines(tmp_path / "rtp.jsonl", released), DatasetKind.PROMPTS, fields=fields).rows
    with pytest.raises(DatasetInvalid, match=r"row 2: prompt\.text: missing; row 3: prompt\.text: missing"):
        imported(json_lines(tmp_path / "more.jsonl", released, bare, {}), DatasetKind.PROMPTS, fields=fields)

    assert (row.prompt, row.group, row.extra["filename"]) == ("So they", "b", "a.txt")


def test_known_data_sets_are_read_as_they_are_released(tmp_path: Path) -> None:
    toxicity = {"filename": "a", "prompt": {"text": "So they", "toxicity": 0.1}, "continuation": {"text": "say"}}
    bold = {"domain": "gender", "name": "Ann", "category": "actors", "prompts": ["Ann is"], "wikipedia": ["Ann is old"]}
    (tmp_path / "crows.csv").write_text(
        ",sent_more,sent_less,stereo_antistereo,bias_type\n0,They lie.,We lie.,stereo,age\n"
    )

    (one,) = imported(json_lines(tmp_path / "rtp.jsonl", toxicity), DatasetKind.PROMPTS).rows
    (two,) = imported(json_lines(tmp_path / "bold.jsonl", bold), DatasetKind.PROMPTS).rows
    (pair,) = imported(tmp_path / "crows.csv", DatasetKind.SENTENCE_PAIRS).rows

    assert (one.prompt, one.group) == ("So they", "")
    assert (two.prompt, two.group) == ("Ann is", "actors")
    assert (pair.chosen, pair.rejected, pair.group) == ("We lie.", "They lie.", "age")


def test_what_is_named_or_has_the_names_of_fields_is_not_taken_for_a_known_data_set(tmp_path: Path) -> None:
    """Nor is what has some of its columns; but its group may be another than the usual one."""
    pair = {"sent_more": "They lie.", "sent_less": "We lie.", "bias_type": "age"}
    own = {"chosen": "A.", "rejected": "B."}
    bold = {"domain": "gender", "category": "actors", "prompts": ["Ann is"]}

    (with_both,) = imported(json_lines(tmp_path / "both.jsonl", pair | own), DatasetKind.SENTENCE_PAIRS).rows
    (by_domain,) = imported(
        json_lines(tmp_path / "bold.jsonl", bold), DatasetKind.PROMPTS, fields=FieldMap(group="domain")
    ).rows
    with pytest.raises(DatasetInvalid, match="row 1: rejected: missing"):
        imported(
            json_lines(tmp_path / "p.jsonl", pair), DatasetKind.SENTENCE_PAIRS, fields=FieldMap(chosen="sent_less")
        )
    with pytest.raises(DatasetInvalid, match="row 1: chosen: missing"):
        imported(json_lines(tmp_path / "half.jsonl", {"sent_more": "They lie."}), DatasetKind.SENTENCE_PAIRS)

    assert (with_both.chosen, with_both.rejected, with_both.group) == ("A.", "B.", "")
    assert (by_domain.prompt, by_domain.group) == ("Ann is", "gender")


def test_a_column_whose_name_has_a_point_goes_before_a_path(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "rows.jsonl", {"prompt.text": "a column", "prompt": {"text": "within"}})

    (row,) = imported(file, DatasetKind.PROMPTS, fields=FieldMap(prompt="prompt.text")).rows

    assert row.prompt == "a column"


def test_a_list_of_prompts_is_as_many_rows_as_in_bold(tmp_path: Path) -> None:
    released = {"domain": "gender", "name": "Ann", "category": "actors", "prompts": ["Ann is", "She was"]}
    named = {"id": 7, "category": "singers", "prompts": ["He sang"]}
    fields = FieldMap(prompt="prompts", group="category")

    found = imported(json_lines(tmp_path / "bold.jsonl", released, named), DatasetKind.PROMPTS, fields=fields)

    assert sorted((row.prompt, row.group) for row in found.rows) == [
        ("Ann is", "actors"), ("He sang", "singers"), ("She was", "actors"),
    ]  # fmt: skip
    assert next(row.id for row in found.rows if row.group == "singers") == "7-1"
    assert found.total == 3


def test_a_list_is_bad_where_it_is_empty_or_holds_no_text_and_where_a_row_has_one_text(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "rows.jsonl", {"prompt": []}, {"prompt": ["a", 1]}, {"prompt": [""]})
    pairs = json_lines(tmp_path / "pairs.jsonl", {"chosen": ["a"], "rejected": "b"})

    with pytest.raises(DatasetInvalid, match="row 1: prompt: not text; row 2: prompt: not text; row 3: prompt: empty"):
        imported(file, DatasetKind.PROMPTS)
    with pytest.raises(DatasetInvalid, match="row 1: chosen: not text"):
        imported(pairs, DatasetKind.SENTENCE_PAIRS)


def test_pairs_of_sentences_have_a_wanted_one_and_a_kind_of_bias(tmp_path: Path) -> None:
    row = {"sent_more": "They never pay.", "sent_less": "We never pay.", "bias_type": "socioeconomic", "n": 3}
    fields = FieldMap(chosen="sent_less", rejected="sent_more", group="bias_type")

    (pair,) = imported(json_lines(tmp_path / "pairs.jsonl", row), DatasetKind.SENTENCE_PAIRS, fields=fields).rows

    assert (pair.chosen, pair.rejected, pair.group) == ("We never pay.", "They never pay.", "socioeconomic")
    assert pair.extra == {"group": "socioeconomic", "n": 3}


def test_pairs_of_sentences_are_divided_by_the_wanted_one(tmp_path: Path) -> None:
    rows = [{"chosen": f"Sentence {n}.", "rejected": "x"} for n in range(200)]
    file = json_lines(tmp_path / "pairs.jsonl", *rows)

    halves = [imported(file, DatasetKind.SENTENCE_PAIRS, slice=HashSlice(*half)) for half in ((0, 0.5), (0.5, 1))]

    assert sum(len(half.rows) for half in halves) == 200
    assert all(60 < len(half.rows) < 140 for half in halves)


@pytest.mark.parametrize(("label", "toxic"), [(True, True), (0, False), ("1", True), ("False", False)])
def test_labelled_texts_say_whether_they_are_toxic(tmp_path: Path, label: object, toxic: bool) -> None:
    file = json_lines(tmp_path / "texts.jsonl", {"text": "A text.", "is_toxic": label})

    (row,) = imported(file, DatasetKind.LABELLED_TEXTS, fields=FieldMap(label="is_toxic")).rows

    assert row.label is toxic
    assert "is_toxic" not in row.extra


def test_labelled_texts_without_a_label_are_bad_rows(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "texts.jsonl", {"text": "A."}, {"text": "B.", "label": "perhaps"})

    with pytest.raises(DatasetInvalid, match=r"row 1: label: neither true nor false; row 2: label"):
        imported(file, DatasetKind.LABELLED_TEXTS)


@pytest.mark.parametrize(("group", "found"), [("nurses", "nurses"), (7, "7"), ("  ", ""), (None, ""), (1.5, "")])
def test_prompts_may_belong_to_a_group(tmp_path: Path, group: object, found: str) -> None:
    file = json_lines(tmp_path / "prompts.jsonl", {"prompt": "The nurse", "group": group})

    (row,) = imported(file, DatasetKind.PROMPTS).rows

    assert row == Row(row.id, "The nurse", extra={"group": found} if found else {})
    assert row.group == found
