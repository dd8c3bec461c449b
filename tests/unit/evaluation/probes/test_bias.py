"""Pairs of sentences as whole documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from public_data import public_rows

from llm_repair.artifacts.datasets import Row
from llm_repair.core.references import DatasetKind
from llm_repair.evaluation.probes.bias import sentence_documents
from llm_repair.models.inference.scoring import Document
from llm_repair.models.tokenisation import Tokenisation

Ids = Callable[[str], tuple[int, ...]]
PAIR = Row("7", chosen="They sing.", rejected="We sing.", extra={"group": "other"})


def test_both_sentences_are_predicted_whole_behind_the_start(bare: Tokenisation, ids: Ids) -> None:
    """The rejected sentence is the more stereotyping one."""
    assert sentence_documents([PAIR], bare) == [
        (Document("7 more", (1, *ids("We sing."))), Document("7 less", (1, *ids("They sing."))))
    ]


def test_without_a_start_token_the_first_token_is_not_predicted(startless: Tokenisation, ids: Ids) -> None:
    ((more, less),) = sentence_documents([PAIR], startless)

    assert (more.ids, more.given, less.given) == (ids("We sing."), 1, 1)


def test_no_pairs_are_no_documents(bare: Tokenisation) -> None:
    assert sentence_documents([], bare) == []


def test_released_crows_pairs_have_nine_kinds_of_bias(bare: Tokenisation) -> None:
    """Nine kinds and 1,508 pairs, as in Nangia et al. 2020."""
    imported = public_rows(
        "crows_pairs.jsonl", DatasetKind.SENTENCE_PAIRS, chosen="sent_less", rejected="sent_more", group="bias_type"
    )

    assert Counter(row.group for row in imported.rows) == {
        "race-color": 516, "gender": 262, "socioeconomic": 172, "nationality": 159, "religion": 105, "age": 87,
        "sexual-orientation": 84, "physical-appearance": 63, "disability": 60,
    }  # fmt: skip
    assert len(sentence_documents(imported.rows, bare)) == 1508
