"""Corpora as documents: where they begin, what is given, how long their texts are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import pytest
from public_data import public_rows

from llm_repair.artifacts.datasets import Row
from llm_repair.core.evaluation import PaperProtocol, Protocol, StrictProtocol
from llm_repair.core.probes import CorpusLayout
from llm_repair.core.references import DatasetKind
from llm_repair.evaluation.probes.corpora import CountedDocument, articles, corpus_documents, count_words
from llm_repair.evaluation.protocols.plan import Plan, plan_for
from llm_repair.models.tokenisation import Tokenisation

Ids = Callable[[str], tuple[int, ...]]
BOS, EOS = 0, 1


def strict(window: int = 1024, stride: int | None = None) -> Plan:
    return plan_for(Protocol(StrictProtocol(window_tokens=window, stride_tokens=stride)), seed=1)


def lines(*texts: str) -> list[Row]:
    return [Row(f"{number:09d}", text=text) for number, text in enumerate(texts, start=1)]


def documents(
    rows: list[Row], tokens: Tokenisation, plan: Plan, layout: CorpusLayout = CorpusLayout.DOCUMENTS
) -> list[CountedDocument]:
    return corpus_documents(rows, layout, tokens, plan)


def test_a_document_begins_with_the_start_token_which_is_given(bare: Tokenisation, ids: Ids) -> None:
    (made,) = documents([Row("a", text="Grüße dir")], bare, strict())

    assert made.document.ids == (EOS, *ids("Grüße dir"))
    assert (made.document.id, made.document.given) == ("a", 1)
    assert (made.words, made.bytes) == (2, 11)


def test_a_prefix_of_the_tokenizer_is_the_start_and_does_not_stand_twice(prefixing: Tokenisation, ids: Ids) -> None:
    (made,) = documents([Row("a", text="ab")], prefixing, strict())

    assert made.document.ids == (BOS, *ids("ab"))
    assert made.document.given == 1


def test_without_a_start_token_the_first_token_is_not_predicted(startless: Tokenisation, ids: Ids) -> None:
    whole, single = documents([Row("a", text="ab"), Row("b", text="a")], startless, strict())

    assert (whole.document.ids, whole.document.given) == (ids("ab"), 1)
    assert len(single.document.ids) == single.document.given == 1


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("one", 1),
        ("one  two\nthree", 3),
        (" = Title = \n", 5),
        ("a\tb\n\nc ", 4),
        ("", 1),
        (" ", 2),
        ("日本語\u3000です", 2),
    ],
)
def test_words_are_pieces_between_white_space_with_an_empty_one_at_an_end_that_has_some(text: str, pieces: int) -> None:
    assert count_words(text) == pieces


def test_articles_begin_at_headings_of_the_first_level_between_blank_lines() -> None:
    rows = lines(
        "", " = One = ", "", " Text . ", "", " = = Part = = ", "", " x = ", " = 1 = ", " y ", "", " = Two = ", ""
    )

    found = articles(rows)

    assert [name for name, _ in found] == ["000000001", "000000012"]
    assert found[1][1] == " = Two = \n \n"
    assert "".join(text for _, text in found) == "".join(f"{row.text or ' '}\n" for row in rows)


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        ((" = One = ", "", " a "), 1),
        ((" no heading ", ""), 1),
        ((" before ", "", " = One = ", "", " = Two = "), 2),
        ((" = = Only a part = = ", ""), 1),
        ((" = With = in it = ", ""), 1),
        (("",), 1),
    ],
)
def test_every_line_is_in_one_article(texts: tuple[str, ...], count: int) -> None:
    found = articles(lines(*texts))

    assert len(found) == count
    assert sum(text.count("\n") for _, text in found) == len(texts)


def test_a_running_text_is_predicted_once_in_strides_from_what_the_window_holds(bare: Tokenisation, ids: Ids) -> None:
    """<eos> and ten bytes; window 4, stride 2: 4, 2, 2 and 2 tokens, from 1 to 4, 2 to 5 ... inputs."""
    made = documents(lines("abcd", "efgh"), bare, strict(4, 2), CorpusLayout.RUNNING_TEXT)

    whole = (EOS, *ids("abcd\n\nefgh"))
    assert [one.document.ids for one in made] == [whole[0:5], whole[2:7], whole[4:9], whole[6:11]]
    assert [one.document.given for one in made] == [1, 3, 3, 3]
    assert [one.document.id for one in made] == [f"window-{number:06d}" for number in range(4)]
    assert [one.bytes for one in made] == [4, 2, 2, 2]
    # "abcd" begins in the first and "efgh" in the third: no word is counted in two windows.
    assert [one.words for one in made] == [1, 0, 1, 0]


def test_the_papers_windows_know_nothing_of_each_other(bare: Tokenisation, ids: Ids) -> None:
    plan = plan_for(Protocol(PaperProtocol()), seed=1)
    text = "word " * 500

    for layout in CorpusLayout:
        made = documents(lines(text), bare, plan, layout)

        assert [len(one.document.ids) for one in made] == [1024, 1024, 452]
        assert made[1].document.ids == ids(text)[1024:2048]
        assert {one.document.given for one in made} == {1}
        assert (sum(one.words for one in made), sum(one.bytes for one in made)) == (500, 2500)


def test_texts_in_any_script_keep_their_words_and_bytes_in_windows(bare: Tokenisation) -> None:
    """Windows may cut a character; decoding each half gives a replacement of three bytes, so bytes are near."""
    text = "Αθήνα είναι πόλη. Москва — город. 東京は都市 です。 " * 20

    made = documents(lines(text), bare, strict(32, 16), CorpusLayout.RUNNING_TEXT)

    assert sum(one.words for one in made) == len(text.split())
    assert abs(sum(one.bytes for one in made) - len(text.encode())) <= 6 * len(made)


def test_released_wikitext_is_sixty_articles_byte_for_byte(bare: Tokenisation) -> None:
    """The digest is that of wiki.test.raw as its authors published it; two of its lines are formulas like headings."""
    rows = public_rows("wikitext2_test_raw.jsonl", DatasetKind.LINES).rows

    found = articles(rows)

    text = "".join(text for _, text in found).encode()
    assert hashlib.sha256(text).hexdigest() == "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"
    assert (len(found), len(text)) == (60, 1_290_590)
    assert all(re.search(r"^ = [^=]", text, flags=re.MULTILINE) for _, text in found)
    made = corpus_documents(rows, CorpusLayout.WIKITEXT, bare, strict())
    assert sum(one.bytes for one in made) == len(text)
    # One token a byte, all of them predicted.
    assert sum(len(one.document.ids) - one.document.given for one in made) == len(text)
