"""Texts whose last word is to be predicted, as in LAMBADA (Paperno et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.models.inference.scoring import Document
from llm_repair.models.tokenisation import Tokenisation

TOLERATED_SHARE: Final = 0.01
"""Share of texts without a last word to predict above which a set is refused."""
_NAMED_IDS = 10


@dataclass(frozen=True)
class ClozeTexts:
    """Texts with their last words to be predicted, and those that have none."""

    documents: Sequence[Document]
    """What stands before the last word is given."""
    unusable: Sequence[str]
    """Ids of texts of one word, or with a last word that adds no token; the same for every model of one tokenizer."""


def cloze_texts(name: str, rows: Sequence[Row], tokens: Tokenisation, window_tokens: int) -> ClozeTexts:
    """Divides every text before its last word and takes from the context what a window has no room for.

    The tokens are those of lm-evaluation-harness (0.4.13, `lambada_openai` and `_encode_pair`): words are divided by
    blanks alone, the blank belongs to the last word, and its tokens are those of the whole text beyond as many as the
    context has by itself. A text begins with what the tokenizer itself puts before it, which is often nothing.

    Raises:
      DatasetInvalid: no text is usable, or more than 1 % are not; the first of them are named by id.
    """
    halves = [divided(row.text) for row in rows]
    whole = tokens.encode([before + word for before, word in halves])
    before = tokens.encode([before for before, _ in halves])
    documents = [
        _fitting(Document(row.id, text.ids, given=len(context.ids)), window_tokens)
        for row, (context_text, _), text, context in zip(rows, halves, whole, before, strict=True)
        if context_text and len(text.ids) > len(context.ids) > 0
    ]
    usable = {document.id for document in documents}
    unusable = [row.id for row in rows if row.id not in usable]
    if not documents or len(unusable) > TOLERATED_SHARE * len(rows):
        raise DatasetInvalid(
            f"{len(unusable)} of {len(rows)} texts of {name} have no last word to predict: "
            f"{', '.join(unusable[:_NAMED_IDS])}",
            cloze_set=name,
            unusable=len(unusable),
        )
    return ClozeTexts(documents, unusable)


def divided(text: str) -> tuple[str, str]:
    """Returns what stands before the last word, and the word with the blanks before it; ("", text) of one word."""
    text = text.rstrip()
    before = text[: text.rfind(" ") + 1].rstrip()
    return before, text[len(before) :]


def _fitting(document: Document, window_tokens: int) -> Document:
    """Cuts the context so that the last word is predicted at once; one longer than a window is left as it is."""
    excess = len(document.ids) - (window_tokens + 1)
    if not 0 < excess < document.given:
        return document
    return Document(document.id, document.ids[excess:], document.given - excess)
