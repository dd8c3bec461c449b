# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""Samples a model, with progress, cancellation, a bill, and every batch kept on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.evaluation import Engine as EngineChoice
from llm_repair.core.execution import StepContext
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.registry import open_engine
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation, Prompt, check_prompts
from llm_repair.models.inference.sampling import Sampling


@dataclass(frozen=True)
class Sampled:
    """A model to be sampled from, and how."""

    model_digest: str
    engine: EngineChoice
    sampling: Sampling


def own_samples(
    model: Sampled,
    rows: Sequence[Row],
    store: ArtifactStore,
    context: StepContext,
    watch: Stopwatch,
    *,
    named: Callable[[Row], str] = lambda row: row.id,
) -> list[Generation]:
    """Starts an engine, samples the model on the rows' prompts, and puts both on the bill.

    Args:
      model: What to sample.
      rows: With whole prompts; none is cut.
      store: Where the model is.
      context: Of the step.
      watch: Gets `engine_start_s` and `generation_s`.
      named: The distinct name of a row's prompt; its noise and the place of its samples depend on it.

    Raises:
      EngineUnavailable, EngineParityFailed, ModelInvalid: before anything is generated.
      DatasetInvalid, PromptTooLong: a prompt cannot be used; rows are named by id, whatever their prompts are named.
    """
    with started_engine(model, store, context, watch) as engine:
        prompts, _ = encode_prompts(engine, rows, None)
        check_prompts(prompts, model.sampling.max_new_tokens, engine.context_tokens)
        asked = [dataclasses.replace(prompt, id=named(row)) for row, prompt in zip(rows, prompts, strict=True)]
        return sampled(engine, asked, model.sampling, context, watch)


@contextmanager
def started_engine(model: Sampled, store: ArtifactStore, context: StepContext, watch: Stopwatch) -> Generator[Engine]:
    """Yields an engine with the model, and puts on the bill what `watch` has then: its start, and `sampled`.

    Raises:
      EngineUnavailable, EngineParityFailed, ModelInvalid: it does not start.
    """
    context.progress(0, 0, "models", stage="loading model")
    with watch.part("engine_start_s"):
        engine = open_engine(model.engine, store, model.model_digest)
    try:
        yield engine
    finally:
        engine.close()
        if torch.cuda.is_available():
            context.count(accelerator_s=watch.seconds("engine_start_s") + watch.seconds("generation_s"))


def sampled(
    engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, context: StepContext, watch: Stopwatch
) -> list[Generation]:
    """Returns all continuations, ordered by prompt id and draw; the time goes to `generation_s`.

    Raises:
      DatasetInvalid, PromptTooLong: before anything is generated; by the prompts' ids.
    """
    with watch.part("generation_s"):
        return sample_prompts(engine, prompts, sampling, context, context.workdir / "samples.draft.jsonl")


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
