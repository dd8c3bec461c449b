"""From a selection to training samples: which rows, and which of their texts."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid, PoolTooSmall
from llm_repair.models.training.batches import NAMED_IDS, PairText
from llm_repair.models.training.objectives import Objective


def selected_texts(rows: Sequence[Row], ids: Sequence[str], objective: Objective) -> list[PairText]:
    """Returns the selected samples with the continuations the objective compares, sorted by id.

    Raises:
      DatasetInvalid: ids that the pool does not have, or rows without a text the objective needs.
      PoolTooSmall: no ids.
    """
    if not ids:
        raise PoolTooSmall("no sample was selected")
    by_id = {row.id: row for row in rows}
    _refuse([name for name in ids if name not in by_id], "are not in the pool")
    chosen = [by_id[name] for name in sorted(set(ids))]
    _refuse([row.id for row in chosen if not row.chosen], "have no chosen continuation")
    if objective.continuations == 1:
        return [PairText(row.id, row.prompt, (row.chosen,)) for row in chosen]
    _refuse([row.id for row in chosen if not row.rejected], "have no rejected continuation, which the method needs")
    return [PairText(row.id, row.prompt, (row.chosen, row.rejected)) for row in chosen]


def _refuse(ids: Sequence[str], why: str) -> None:
    if ids:
        named = ids[:NAMED_IDS]
        message = f"{len(ids)} selected samples {why}; the first are {', '.join(named)}"
        raise DatasetInvalid(message, count=len(ids), ids=",".join(named))
