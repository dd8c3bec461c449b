"""Texts divided before their last word, in words and in tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from public_data import public_rows
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.references import DatasetKind
from llm_repair.evaluation.probes.cloze import ClozeTexts, cloze_texts, divided
from llm_repair.models.inference.scoring import Document
from llm_repair.models.tokenisation import Tokenisation, tokenisation

Ids = Callable[[str], tuple[int, ...]]


def texts(*rows: str, tokens: Tokenisation, window: int = 1024) -> ClozeTexts:
    named = [Row(f"t{number}", text=text) for number, text in enumerate(rows)]
    return cloze_texts("tales", named, tokens, window)


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        ("She took the long way home", ("She took the long way", " home")),
        ("It ended. \n", ("It", " ended.")),
        ("two  blanks", ("two", "  blanks")),
        ("a line\nbreak is in the last\nword", ("a line\nbreak is in the", " last\nword")),
        ("word", ("", "word")),
        (" word", ("", " word")),
        ("Η τελευταία λέξη", ("Η τελευταία", " λέξη")),
        ("", ("", "")),
    ],
)
def test_a_text_is_divided_at_its_last_blank(text: str, halves: tuple[str, str]) -> None:
    assert divided(text) == halves


def test_the_context_is_given_and_the_blank_belongs_to_the_word(bare: Tokenisation, ids: Ids) -> None:
    made = texts("so far away", tokens=bare)

    assert made.documents == [Document("t0", ids("so far away"), given=len("so far"))]
    assert made.unusable == []


def test_a_prefix_of_the_tokenizer_stands_before_the_context(prefixing: Tokenisation, ids: Ids) -> None:
    assert texts("so far", tokens=prefixing).documents == [Document("t0", (0, *ids("so far")), given=3)]


def test_a_context_longer_than_the_window_loses_its_start(bare: Tokenisation, ids: Ids) -> None:
    """The last of window + 1 tokens is no input: four inputs are left, of which two are the context's."""
    made = texts("abcdef xy", tokens=bare, window=4)

    assert made.documents == [Document("t0", ids("ef xy"), given=2)]


def test_a_word_longer_than_the_window_is_left_to_several_windows(bare: Tokenisation, ids: Ids) -> None:
    assert texts("ab cdefgh", tokens=bare, window=4).documents == [Document("t0", ids("ab cdefgh"), given=2)]


def test_a_word_that_adds_no_token_is_not_predicted() -> None:
    """A vocabulary in which the whole text is one token, and so is its context."""
    vocabulary = {"<unk>": 0, "x y": 1, "x y z": 2}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence([])
    tokens = tokenisation(PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>"), ())

    with pytest.raises(DatasetInvalid, match="1 of 1 texts of tales have no last word to predict: t0"):
        texts("x y z", tokens=tokens)


def many(count: int, odd: Sequence[str]) -> list[str]:
    return [*(f"the text number {number}" for number in range(count - len(odd))), *odd]


def test_few_texts_of_one_word_are_left_out_and_named(bare: Tokenisation) -> None:
    made = texts(*many(100, ["word"]), tokens=bare)

    assert len(made.documents) == 99
    assert made.unusable == ["t99"]


def test_more_than_one_in_a_hundred_are_refused_by_id(bare: Tokenisation) -> None:
    with pytest.raises(
        DatasetInvalid, match="2 of 100 texts of tales have no last word to predict: t98, t99"
    ) as refused:
        texts(*many(100, ["word", "日本語"]), tokens=bare)

    assert refused.value.metadata == {"cloze_set": "tales", "unusable": "2"}


def test_a_set_without_texts_is_refused(bare: Tokenisation) -> None:
    with pytest.raises(DatasetInvalid):
        texts(tokens=bare)


def test_released_lambada_is_divided_as_the_harness_divides_it(bare: Tokenisation) -> None:
    """Its templates: the text split at blanks; all but the last piece joined by them, and a blank with the last."""
    rows = public_rows("lambada_test_a.jsonl", DatasetKind.TEXTS).rows

    made = cloze_texts("lambada", rows, bare, 1 << 20)

    # Two of the 2,570 texts are equal to another but for case or white space.
    assert (len(rows), len(made.documents), made.unusable) == (2568, 2568, [])
    for row, document in zip(rows, made.documents, strict=True):
        *before, last = row.text.split(" ")
        assert divided(row.text) == (" ".join(before), f" {last}")
        assert document.given == len(" ".join(before).encode())
    assert sum(re.search(r"\s", last.strip()) is not None for _, last in (divided(row.text) for row in rows)) == 4
