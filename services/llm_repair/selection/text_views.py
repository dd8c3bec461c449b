"""Text views: which text of a pool row is embedded or scored."""

from __future__ import annotations

from llm_repair.artifacts.datasets import Row
from llm_repair.core.selection import TextView


def view_of(row: Row, view: TextView) -> str:
    """Returns the text of a row under a view; empty where the row lacks it.

    The release of the study embeds the raw JSON line, keys and token ids included (reference notes §8.1); here the
    text is chosen and named.
    """
    match view:
        case TextView.PROMPT:
            return row.prompt
        case TextView.REJECTED:
            return row.rejected
        case TextView.CHOSEN:
            return row.chosen
        case TextView.PROMPT_REJECTED:
            return _continued(row.prompt, row.rejected)
        case TextView.PROMPT_CHOSEN:
            return _continued(row.prompt, row.chosen)


def _continued(prompt: str, continuation: str) -> str:
    """Joins both, with a blank where neither side brings white space."""
    touching = prompt[-1:].strip() and continuation[:1].strip()
    return f"{prompt} {continuation}" if touching else prompt + continuation
