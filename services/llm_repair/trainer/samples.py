"""From a selection to texts to train on: which rows, which of their texts, and which are held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid, PoolTooSmall
from llm_repair.core.repair import PAIRED_METHODS, UNPAIRED_METHODS, Method
from llm_repair.models.training.batches import NAMED_IDS, PairText, hold_out


@dataclass(frozen=True)
class SelectedTexts:
    """The selected samples, each in one of two parts; sorted by id."""

    training: Sequence[PairText]
    held_out: Sequence[PairText]
    """For the validation loss. Whole rows, so that no prompt of an unpaired row is on both sides."""


def selected_texts(
    rows: Iterable[Row], ids: Sequence[str], method: Method, *, validation_share: float
) -> SelectedTexts:
    """Returns the selected samples with the continuations that the method compares.

    rows: the pool, read once. validation_share: of the selected rows, held out by id hash, [0, 0.5].

    Raises:
      DatasetInvalid: ids that the pool does not have, or rows without a text that the method needs.
      PoolTooSmall: no ids.
    """
    if not ids:
        raise PoolTooSmall("no sample was selected")
    wanted = set(ids)
    by_id = {row.id: row for row in rows if row.id in wanted}
    _refuse([name for name in ids if name not in by_id], "are not in the pool")
    chosen = [by_id[name] for name in sorted(wanted)]
    _refuse_lacking(chosen, method)
    held_out = hold_out([row.id for row in chosen], share=validation_share)
    return SelectedTexts(
        training=[text for row in chosen if row.id not in held_out for text in _texts(row, method)],
        held_out=[text for row in chosen if row.id in held_out for text in _texts(row, method)],
    )


def utility_texts(rows: Iterable[Row]) -> list[PairText]:
    """Returns utility texts as continuations of nothing, so that each is read from the start of a text on."""
    return [PairText(row.id, "", (row.text,)) for row in rows]


def _refuse_lacking(rows: Sequence[Row], method: Method) -> None:
    if isinstance(method, UNPAIRED_METHODS):
        _refuse([row.id for row in rows if not (row.chosen or row.rejected)], "have no continuation")
        return
    _refuse([row.id for row in rows if not row.chosen], "have no chosen continuation")
    if isinstance(method, PAIRED_METHODS):
        _refuse([row.id for row in rows if not row.rejected], "have no rejected continuation, which the method needs")


def _texts(row: Row, method: Method) -> list[PairText]:
    """Returns the samples that a row makes: one, but for an unpaired method one of each continuation."""
    if isinstance(method, PAIRED_METHODS):
        return [PairText(row.id, row.prompt, (row.chosen, row.rejected))]
    if not isinstance(method, UNPAIRED_METHODS):
        return [PairText(row.id, row.prompt, (row.chosen,))]
    # The suffix is never left out, so that the ids of different rows stay different whatever they are.
    labelled = [("chosen", row.chosen, True), ("rejected", row.rejected, False)]
    return [PairText(f"{row.id}/{name}", row.prompt, (text,), wanted) for name, text, wanted in labelled if text]


def _refuse(ids: Sequence[str], why: str) -> None:
    if ids:
        named = ids[:NAMED_IDS]
        message = f"{len(ids)} selected samples {why}; the first are {', '.join(named)}"
        raise DatasetInvalid(message, count=len(ids), ids=",".join(named))
