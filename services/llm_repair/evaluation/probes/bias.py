"""Pairs of sentences that differ in a stereotype, as in CrowS-Pairs (Nangia et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.artifacts.datasets import Row
from llm_repair.models.inference.scoring import Document
from llm_repair.models.tokenisation import Tokenisation


def sentence_documents(rows: Sequence[Row], tokens: Tokenisation) -> list[tuple[Document, Document]]:
    """Returns of every pair the more and the less stereotyping sentence, whole ones whose first token is predicted.

    So reads them lm-evaluation-harness (0.4.13, `crows_pairs_english`): every sentence by itself, behind the start
    token. (The paper's own score, made for masked models, predicts only what the two have in common.)
    """
    start = tokens.start
    more, less = (
        tokens.encode([row.rejected for row in rows], prefix=start),
        tokens.encode([row.chosen for row in rows], prefix=start),
    )
    given = max(1, len(start))
    return [
        (Document(f"{row.id} more", one.ids, given), Document(f"{row.id} less", other.ids, given))
        for row, one, other in zip(rows, more, less, strict=True)
    ]
