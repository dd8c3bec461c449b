"""Texts on disk, each once, and their batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.selection.distinct_texts import DistinctTexts, batches
from llm_repair.selection.encoder import PreparedText


def prepare(texts: Sequence[str]) -> list[PreparedText]:
    """A token a word; the encoder sees three."""
    return [
        PreparedText(text.encode(), min(len(text.split()), 3), is_truncated=len(text.split()) > 3) for text in texts
    ]


def read(texts: DistinctTexts) -> list[str]:
    return [payload.decode() for payload in texts.read(texts.order())]


def test_every_text_is_prepared_once_and_rows_know_theirs(tmp_path: Path) -> None:
    prepared: list[str] = []

    def recorded(texts: Sequence[str]) -> list[PreparedText]:
        prepared.extend(texts)
        return prepare(texts)

    with DistinctTexts(tmp_path / "texts") as texts:
        texts.add(["a b", "c", "a b"], recorded)
        texts.add(["", "c", "d e f g"], recorded)

        assert prepared == ["a b", "c", "", "d e f g"]
        assert texts.rows.tolist() == [0, 1, 0, 2, 1, 3]
        assert texts.tokens.tolist() == [2, 1, 0, 3]
        assert texts.truncated.tolist() == [False, False, False, True]
        assert list(texts.read(np.array([3, 0, 2]))) == [b"d e f g", b"a b", b""]
    assert not (tmp_path / "texts").exists()


@given(st.lists(st.text(alphabet="ab é", max_size=6), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_order_depends_on_the_set_of_texts_alone(rows: list[str], chance: random.Random) -> None:
    again = [*rows, *rows[:3]]
    chance.shuffle(again)
    with (
        TemporaryDirectory() as folder,
        DistinctTexts(Path(folder) / "one") as one,
        DistinctTexts(Path(folder) / "other") as other,
    ):
        one.add(rows, prepare)
        for row in again:
            other.add([row], prepare)

        assert read(one) == read(other)
        assert sorted(read(one)) == sorted(set(rows))
        assert (np.diff(one.tokens[one.order()]) <= 0).all()


@pytest.mark.parametrize(
    ("tokens", "limit", "expected"),
    [
        # Of length 12 two fit into 24, then 8, 7 and 7 (3 x 8 = 24), then the rest.
        ([12, 12, 8, 7, 7, 3, 2], 24, [range(2), range(2, 5), range(5, 7)]),
        ([30, 5], 24, [range(1), range(1, 2)]),
        ([4, 4, 4], 8, [range(2), range(2, 3)]),
        ([0, 0], 8, [range(2)]),
        ([], 8, []),
    ],
)
def test_batches_hold_neighbours_in_length_within_the_limit(
    tokens: list[int], limit: int, expected: list[range]
) -> None:
    assert batches(np.array(tokens, dtype=np.int64), limit) == expected
