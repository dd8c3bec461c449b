"""Prompts that say the same under several ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llm_repair.artifacts.datasets import Row
from llm_repair.core.execution import Json


def duplicate_warnings(rows: Sequence[Row]) -> list[dict[str, Json]]:
    """Returns [{kind: DUPLICATE_PROMPTS, prompts, texts}], or nothing where every prompt has a text of its own.

    So many prompts share so few texts. They stay units of their own, since each has its own id, noise and group; but
    they are not independent, and intervals that count them as such are narrower than they should be.
    """
    shared = [count for count in Counter(row.prompt for row in rows).values() if count > 1]
    return [{"kind": "DUPLICATE_PROMPTS", "prompts": sum(shared), "texts": len(shared)}] if shared else []
