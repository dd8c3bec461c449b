"""Continues prompts in fixed batches: sorted by prompt id, all draws of a prompt together.

Batches depend on the set of prompts and the sampling alone. On a processor every thread continues a batch of its own,
so that none waits for another at the end of a product, and the same arithmetic is done whatever their number: a
repeated generation is equal to the bit.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from llm_repair.core.errors import DatasetInvalid, PromptTooLong, StepCancelled
from llm_repair.models.inference.decoding import Network
from llm_repair.models.inference.sampling import RowNoise, Sampling, prompt_key, sample
from llm_repair.models.inference.threads import in_threads
from llm_repair.models.loading import LanguageModel
from llm_repair.models.tokenisation import TokenIds

BATCH_ROWS = 64
"""Rows decoded together; more make a thread that computes alone hardly faster, and leave fewer batches to share out."""
_NAMED_IDS = 10

Batch: TypeAlias = "list[tuple[Prompt, range]]"
"""Prompts with those of their draws that are made together."""


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
      beat: Called a few times a second, or at every token; may raise in order to stop.

    Raises:
      DatasetInvalid, PromptTooLong: before anything is generated; see `check_prompts`.
    """
    check_prompts(prompts, sampling.max_new_tokens, model.network.context_tokens)
    threads = torch.get_num_threads() if model.network.parallel else 1

    def make(batch: Batch, look: Callable[[], None]) -> list[Generation]:
        continuations = _continue(model.network, batch, sampling, model.tokens.stop_ids, look)
        rows = [(prompt, draw) for prompt, draws in batch for draw in draws]
        return [
            Generation(prompt.id, draw, model.tokens.continuation_text(prompt.ids, new), len(new))
            for (prompt, draw), new in zip(rows, continuations, strict=True)
        ]

    work = batches(prompts, sampling.draws, BATCH_ROWS)
    if threads == 1:
        for batch in work:
            yield make(batch, beat)
    else:
        yield from _by_threads(make, work, threads, beat)


def _by_threads(
    make: Callable[[Batch, Callable[[], None]], list[Generation]],
    work: Iterator[Batch],
    threads: int,
    beat: Callable[[], None],
) -> Generator[list[Generation]]:
    """Yields what comes of the batches, in their order, while every thread makes one."""
    leaving = threading.Event()

    def look() -> None:
        if leaving.is_set():
            raise StepCancelled

    def beat_or_leave() -> None:
        try:
            beat()
        except BaseException:
            leaving.set()
            raise

    # Twice as many as there are threads, so that none idles while the oldest is waited for.
    calls = (functools.partial(make, batch, look) for batch in work)
    made = in_threads(calls, threads, ahead=2 * threads, beat=beat_or_leave)
    try:
        yield from made
    finally:
        leaving.set()
        made.close()


def batches(prompts: Sequence[Prompt], draws: int, rows: int) -> Iterator[Batch]:
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
