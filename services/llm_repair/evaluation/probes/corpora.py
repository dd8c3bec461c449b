"""Corpora as documents of token ids, with the words and bytes that perplexity is also counted by."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.artifacts.datasets import Row
from llm_repair.core.probes import CorpusLayout
from llm_repair.evaluation.protocols.plan import Plan
from llm_repair.models.inference.scoring import Document, strides
from llm_repair.models.tokenisation import TokenIds, Tokenisation

_HEADING = re.compile(r" = (?!= ).*(?<! =) = ?")
"""Of the first level, which ` = = Section = = ` is not."""
_BLANK_LINE = " "
"""What a blank row is in the files of WikiText."""
_WORD_START = re.compile(r"(?<=\s)\S")
_TOKENS_BEFORE = 8
"""Enough to decode a piece as it follows what is before it."""


@dataclass(frozen=True)
class CountedDocument:
    """A document to read and how long its text is."""

    document: Document
    words: int
    """See `count_words`."""
    bytes: int
    """Of the UTF-8 text."""


def corpus_documents(
    rows: Sequence[Row], layout: CorpusLayout, tokens: Tokenisation, plan: Plan
) -> list[CountedDocument]:
    """Returns the documents of a corpus, which are its units; the plan's windows must fit the model."""
    if plan.apart:
        return _windows_apart(rows, tokens, plan.window_tokens)
    match layout:
        case CorpusLayout.DOCUMENTS:
            return _separate([(row.id, row.text) for row in rows], tokens)
        case CorpusLayout.WIKITEXT:
            return _separate(articles(rows), tokens)
        case CorpusLayout.RUNNING_TEXT:
            return _rolling_windows(rows, tokens, plan)


def count_words(text: str) -> int:
    """Counts the pieces between runs of white space, an empty one at either end included.

    So counts lm-evaluation-harness (0.4.13, `count_words`), and only so are word perplexities comparable with its.
    Without white space at its ends a text has as many pieces as words.
    """
    return len(re.split(r"\s+", text))


def articles(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Returns the articles of lines in the form of WikiText: the id of the first line, and the text.

    An article begins at a heading of the first level between blank lines; what stands before the first one is part of
    the first article. The texts one after another are the released file, byte for byte.
    """
    lines = [row.text or _BLANK_LINE for row in rows]
    starts = [index for index in range(len(lines)) if _begins_article(lines, index)][1:]
    edges = [0, *starts, len(lines)]
    return [
        (rows[start].id, "".join(f"{line}\n" for line in lines[start:end]))
        for start, end in itertools.pairwise(edges)
        if start < end
    ]


def _begins_article(lines: Sequence[str], index: int) -> bool:
    """Tells a heading from a formula that looks like one: only a heading stands alone."""
    around = (*lines[max(0, index - 1) : index], *lines[index + 1 : index + 2])
    return _HEADING.fullmatch(lines[index]) is not None and not any(line.strip() for line in around)


def _separate(texts: Sequence[tuple[str, str]], tokens: Tokenisation) -> list[CountedDocument]:
    """Returns every text as a document that begins with the tokenizer's start token, if it has one."""
    start = tokens.start
    encoded = tokens.encode([text for _, text in texts], prefix=start)
    return [
        CountedDocument(Document(name, ids.ids, given=max(1, len(start))), count_words(text), len(text.encode("utf-8")))
        for (name, text), ids in zip(texts, encoded, strict=True)
    ]


def _rolling_windows(rows: Sequence[Row], tokens: Tokenisation, plan: Plan) -> list[CountedDocument]:
    """Returns the strides of a running text as documents, each behind what it is predicted from."""
    start = tokens.start
    ids = _running_text(rows, tokens, start)
    pieces = list(strides(len(ids), max(1, len(start)), plan.window_tokens, plan.stride_tokens))
    reach = [max(0, piece.stop - 1 - plan.window_tokens) for piece in pieces]
    return _counted(
        [
            Document(_window_id(number), ids[first : piece.stop], given=piece.start - first)
            for number, (first, piece) in enumerate(zip(reach, pieces, strict=True))
        ],
        [_text_of(ids, piece, tokens) for piece in pieces],
    )


def _windows_apart(rows: Sequence[Row], tokens: Tokenisation, window_tokens: int) -> list[CountedDocument]:
    """Returns the windows of a running text as documents that know nothing of each other."""
    ids = _running_text(rows, tokens, tokens.prefix)
    pieces = [range(first, min(first + window_tokens, len(ids))) for first in range(0, len(ids), window_tokens)]
    return _counted(
        [Document(_window_id(number), ids[piece.start : piece.stop]) for number, piece in enumerate(pieces)],
        [_text_of(ids, piece, tokens) for piece in pieces],
    )


def _running_text(rows: Sequence[Row], tokens: Tokenisation, prefix: TokenIds) -> TokenIds:
    return tokens.encode(["\n\n".join(row.text for row in rows)], prefix=prefix)[0].ids


def _text_of(ids: TokenIds, piece: range, tokens: Tokenisation) -> str:
    before = ids[max(0, piece.start - _TOKENS_BEFORE) : piece.start]
    return tokens.continuation_text(before, ids[piece.start : piece.stop])


def _window_id(number: int) -> str:
    return f"window-{number:06d}"


def _counted(documents: Sequence[Document], pieces: Sequence[str]) -> list[CountedDocument]:
    """Returns the documents with the sizes of the pieces of text that they add; a word counts where it begins."""
    ends = [" ", *(piece[-1:] for piece in pieces)]
    return [
        CountedDocument(document, len(_WORD_START.findall(before + piece)), len(piece.encode("utf-8")))
        for document, piece, before in zip(documents, pieces, ends, strict=False)
    ]
