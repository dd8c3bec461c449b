# pyright: reportUnknownMemberType=false
# transformers' tokenizers are partly untyped.
"""The samples that all contenders train on, as token ids, so that no tokenizer's choices come between them."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence

from bench.models import demo_model, demo_prompts
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import load_language_model
from llm_repair.models.training.batches import TokenisedSample

_NEW_TOKENS = 20
_TOP_P = 0.9
"""As the demo's pool is sampled."""
_PROMPT_TOKENS = (7, 13, 16, 21, 26, 38)
_CONTINUATION_TOKENS = (13, 20, 20, 20, 20, 20)
"""Lengths of 128 of the demo's prompts and of 2 continuations each: smallest, quartiles, ninth decile, largest; of the
continuations the first decile too."""


@functools.cache
def demo_pairs(count: int) -> tuple[TokenisedSample, ...]:
    """Returns the demo's prompts, each with two continuations that its model sampled; no judge says which is chosen."""
    rows = demo_prompts(count)
    model = load_language_model(demo_model(), weights=WeightFormat.BFLOAT16)
    prompts = [
        Prompt(row.id, text.ids) for row, text in zip(rows, model.tokens.encode([r.prompt for r in rows]), strict=True)
    ]
    sampling = Sampling(draws=2, max_new_tokens=_NEW_TOKENS, top_p=_TOP_P, seed=1)
    drawn: dict[str, dict[int, str]] = {}
    for batch in TransformersEngine(model).generate(prompts, sampling, beat=lambda: None):
        for sample in batch:
            drawn.setdefault(sample.prompt_id, {})[sample.draw] = sample.text
    pairs: list[TokenisedSample] = []
    for prompt in prompts:
        texts = model.tokens.tokenizer([drawn[prompt.id][draw] for draw in range(2)], add_special_tokens=False)
        continuations = tuple(tuple(ids) for ids in texts["input_ids"])
        if all(continuations):
            pairs.append(TokenisedSample(prompt.id, tuple(prompt.ids), continuations))
    return tuple(pairs)


def made_up_pairs(count: int, vocabulary: int) -> list[TokenisedSample]:
    """Returns random ids in lengths as the demo's, without having to sample the demo's model."""
    rng = random.Random(5)

    def ids(lengths: Sequence[int]) -> tuple[int, ...]:
        return tuple(rng.randrange(vocabulary) for _ in range(rng.choice(lengths)))

    return [
        TokenisedSample(f"s{row:04d}", ids(_PROMPT_TOKENS), (ids(_CONTINUATION_TOKENS), ids(_CONTINUATION_TOKENS)))
        for row in range(count)
    ]


def within(samples: Sequence[TokenisedSample], vocabulary: int) -> list[TokenisedSample]:
    """Returns the samples in their lengths for a model of a smaller vocabulary."""
    return [
        dataclasses.replace(
            sample,
            prompt=tuple(token % vocabulary for token in sample.prompt),
            continuations=tuple(tuple(token % vocabulary for token in ids) for ids in sample.continuations),
        )
        for sample in samples
    ]


def with_chosen_only(samples: Sequence[TokenisedSample]) -> list[TokenisedSample]:
    """Returns the samples as a method without rejected continuations gets them."""
    return [dataclasses.replace(sample, continuations=sample.continuations[:1]) for sample in samples]


def real_tokens(samples: Sequence[TokenisedSample]) -> int:
    """Counts every continuation with its prompt: what training without padding and without sharing reads."""
    return sum(len(sample.prompt) + len(ids) for sample in samples for ids in sample.continuations)
