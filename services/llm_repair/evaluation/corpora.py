"""Corpora as documents of token ids, with the words and bytes that perplexity is also counted by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm_repair.artifacts.datasets import Row
from llm_repair.models.inference.scoring import Document
from llm_repair.models.tokenisation import Tokenisation


@dataclass(frozen=True)
class CountedDocument:
    """A document to read and how long its text is."""

    document: Document
    words: int
    """White-space separated."""
    bytes: int
    """Of the UTF-8 text."""


def separate_documents(rows: Sequence[Row], tokens: Tokenisation) -> list[CountedDocument]:
    """Returns every row as a document of its own, uncut."""
    encoded = tokens.encode([row.text for row in rows])
    return [
        CountedDocument(Document(row.id, text.ids), len(row.text.split()), len(row.text.encode()))
        for row, text in zip(rows, encoded, strict=True)
    ]


def running_windows(rows: Sequence[Row], tokens: Tokenisation, window_tokens: int) -> list[CountedDocument]:
    """Returns all rows joined by blank lines, cut into windows that are documents of their own, ids in order."""
    text = "\n\n".join(row.text for row in rows)
    (encoded,) = tokens.encode([text])
    return [
        CountedDocument(Document(f"window-{number:06d}", ids), len(piece.split()), len(piece.encode()))
        for number, ids in enumerate(_cut(encoded.ids, window_tokens))
        for piece in [tokens.continuation_text((), ids)]
    ]


def _cut(ids: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
