"""Continues prompts in fixed batches: sorted by prompt id, all draws of a prompt together.

Batches depend on the set of prompts and the sampling alone, so a repeated generation does the same arithmetic
and, on CPU at an equal number of threads, is equal to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llm_repair.core.errors import DatasetInvalid, PromptTooLong
from llm_repair.models.inference.decoding import Network
from llm_repair.models.inference.sampling import RowNoise, Sampling, prompt_key, sample
from llm_repair.models.loading import LanguageModel
from llm_repair.models.tokenisation import TokenIds

BATCH_ROWS = 192
"""Rows decoded together; 64 to 256 are within a few percent of each other on two cores, 512 is slower."""
_NAMED_IDS = 10


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model sees it."""

    id: str
    ids: TokenIds


@dataclass(frozen=True)
class Generation:
    """One sampled continuation."""

    prompt_id: str
    draw: int
    text: str
    tokens: int
    """New tokens, without the one that ended it."""


def check_prompts(prompts: Sequence[Prompt], max_new_tokens: int, context_tokens: int) -> None:
    """Refuses prompts that cannot be continued, naming them.

    Raises:
      DatasetInvalid: a prompt has no tokens.
      PromptTooLong: a prompt with its continuation exceeds the context.
    """
    if empty := [prompt.id for prompt in prompts if not prompt.ids]:
        raise DatasetInvalid(f"{len(empty)} prompts have no tokens: {_named(empty)}", ids=_named(empty))
    long = [prompt.id for prompt in prompts if len(prompt.ids) + max_new_tokens > context_tokens]
    if long:
        raise PromptTooLong(
            f"{len(long)} prompts with {max_new_tokens} new tokens exceed the context of {context_tokens} tokens: "
            f"{_named(long)}",
            ids=_named(long),
            context_tokens=context_tokens,
        )


def generate(
    model: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling, *, beat: Callable[[], None] = lambda: None
) -> Generator[list[Generation]]:
    """Yields the continuations batch by batch, ordered by prompt id and draw.

    Args:
      model: What samples.
      prompts: With distinct ids, in any order.
      sampling: How.
      beat: Called at every token; may raise in order to stop.

    Raises:
      DatasetInvalid, PromptTooLong: before anything is generated; see `check_prompts`.
    """
    check_prompts(prompts, sampling.max_new_tokens, model.network.context_tokens)
    for batch in batches(prompts, sampling.draws, BATCH_ROWS):
        continuations = _continue(model.network, batch, sampling, model.tokens.stop_ids, beat)
        rows = [(prompt, draw) for prompt, draws in batch for draw in draws]
        yield [
            Generation(prompt.id, draw, model.tokens.continuation_text(prompt.ids, new), len(new))
            for (prompt, draw), new in zip(rows, continuations, strict=True)
        ]


def batches(prompts: Sequence[Prompt], draws: int, rows: int) -> Iterator[list[tuple[Prompt, range]]]:
    """Yields groups of at most `rows` rows, prompts sorted by id; many draws of one prompt are split evenly."""
    ordered = sorted(prompts, key=lambda prompt: prompt.id)
    if draws > rows:
        parts = -(-draws // rows)
        edges = [draws * part // parts for part in range(parts + 1)]
        for prompt in ordered:
            for start, end in itertools.pairwise(edges):
                yield [(prompt, range(start, end))]
        return
    size = rows // draws
    for start in range(0, len(ordered), size):
        yield [(prompt, range(draws)) for prompt in ordered[start : start + size]]


def _continue(
    network: Network,
    batch: Sequence[tuple[Prompt, range]],
    sampling: Sampling,
    stop_ids: frozenset[int],
    beat: Callable[[], None],
) -> list[list[int]]:
    draws = len(batch[0][1])
    keys = [prompt_key(sampling.seed, prompt.id) for prompt, _ in batch]
    noise = RowNoise(
        np.repeat(np.array(keys, dtype=np.uint64), draws),
        np.array([draw for _, numbers in batch for draw in numbers], dtype=np.uint64),
    )
    beat()
    decoding, first = network.prefill([prompt.ids for prompt, _ in batch], draws, sampling.max_new_tokens)
    logits = first.repeat_interleave(draws, dim=0)
    steps: list[list[int]] = []
    stopped = np.zeros(len(batch) * draws, dtype=bool)
    for position in range(sampling.max_new_tokens):
        beat()
        tokens = sample(logits, sampling, noise, position)
        steps.append([int(token) for token in tokens.cpu().numpy()])
        stopped |= np.isin(steps[-1], list(stop_ids))
        if stopped.all() or position + 1 == sampling.max_new_tokens:
            break
        logits = decoding.step(tokens)
    return [until_stop(row, stop_ids) for row in zip(*steps, strict=True)]


def until_stop(row: Sequence[int], stop_ids: frozenset[int]) -> list[int]:
    """Returns the tokens before the first stop id."""
    end = next((index for index, token in enumerate(row) if token in stop_ids), len(row))
    return list(row[:end])


def _named(ids: Sequence[str]) -> str:
    return ", ".join(sorted(ids)[:_NAMED_IDS]) + (", ..." if len(ids) > _NAMED_IDS else "")
