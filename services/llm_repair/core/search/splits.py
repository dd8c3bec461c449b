"""Two disjoint sets of prompts: one to choose arms on, one to report them on.

The best of many arms looks better on the prompts it was chosen on than it is; on prompts that had no say it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llm_repair.core.budgets import share_of
from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.hashing import order_by_hash
from llm_repair.core.references import normalized

_NAMED_ROWS: Final = 5


@dataclass(frozen=True)
class PromptSplits:
    """Ids of both splits, each in its order: the first m of them are the prompts of a trial that measures m."""

    selection: tuple[str, ...]
    report: tuple[str, ...]


def split_prompts(texts: Mapping[str, str], *, selection_share: float, seed: int) -> PromptSplits:
    """Splits prompts, or documents of a corpus, by a seeded hash of their normalised text.

    Texts that are equal once normalised stay together, so that none is on both sides. Independent of ids and of order,
    and of `HashSlice`, whose slices of one file may be the pool and these prompts.

    Args:
      texts: by id.
      selection_share: of the distinct texts, (0, 1); to the nearest whole text, at least one on either side.
      seed: of the search.

    Raises:
      InvalidFields: fewer than two distinct texts.
    """
    by_text: dict[str, list[str]] = {}
    for name in sorted(texts):
        by_text.setdefault(normalized(texts[name]), []).append(name)
    distinct = sorted(by_text)
    if len(distinct) < 2:
        fault = f"a search needs at least two distinct ones, there are {len(distinct)}"
        raise InvalidFields([FieldViolation("prompts", fault)])
    order: list[str] = [distinct[int(position)] for position in order_by_hash(distinct, seed, "search.split")]
    cut = min(share_of(selection_share, len(order)), len(order) - 1)
    chosen, reported = ([name for text in part for name in by_text[text]] for part in (order[:cut], order[cut:]))
    return PromptSplits(tuple(chosen), tuple(reported))


def check_disjoint(texts: Mapping[str, str], splits: PromptSplits) -> None:
    """Checks that the splits share no text, equal after normalisation or not.

    Raises:
      InvalidFields: naming the first ids of the report split whose text is in the selection split.
    """
    seen = {normalized(texts[name]) for name in splits.selection}
    shared = [name for name in splits.report if normalized(texts[name]) in seen]
    if shared:
        more = ", …" if len(shared) > _NAMED_ROWS else ""
        fault = f"{len(shared)} are in the selection split too: {', '.join(shared[:_NAMED_ROWS])}{more}"
        raise InvalidFields([FieldViolation("report", fault)])
