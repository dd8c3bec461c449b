"""Samples a model on a data set of prompts, with progress, cancellation and every batch kept on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import StepContext
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.models.inference.generation import Generation, Prompt
from llm_repair.models.inference.sampling import Sampling


def encode_prompts(engine: Engine, rows: Sequence[Row], prompt_tokens: int | None) -> tuple[list[Prompt], int]:
    """Returns the prompts as token ids, and how many of them were cut to `prompt_tokens`.

    Raises:
      DatasetInvalid: there are none, or some have no text; named by id.
    """
    if not rows:
        raise DatasetInvalid("there are no prompts")
    if empty := [row.id for row in rows if not row.prompt]:
        raise DatasetInvalid(f"{len(empty)} rows have no prompt, such as {', '.join(empty[:10])}", rows=len(empty))
    encoded = engine.tokens.encode([row.prompt for row in rows], max_tokens=prompt_tokens)
    prompts = [Prompt(row.id, text.ids) for row, text in zip(rows, encoded, strict=True)]
    return prompts, sum(text.truncated_tokens > 0 for text in encoded)


def sample_prompts(
    engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, context: StepContext, draft: Path
) -> list[Generation]:
    """Returns all continuations, ordered by prompt id and draw.

    Every batch is appended to `draft` as it comes, so that what a cancelled step leaves is whole lines.
    """
    made: list[Generation] = []
    total = len(prompts) * sampling.draws
    context.progress(0, total, "continuations", stage="generating")
    with draft.open("w", encoding="utf-8") as file:
        for batch in engine.generate(prompts, sampling, beat=context.raise_if_cancelled):
            made += batch
            file.writelines(json.dumps(dataclasses.asdict(row), sort_keys=True) + "\n" for row in batch)
            file.flush()
            context.count(tokens=sum(row.tokens for row in batch))
            context.progress(len(made), total, "continuations", stage="generating")
    return made
