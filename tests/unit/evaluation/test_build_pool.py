"""Self-generated pairs: the choice by hand, and the step on a tiny model with the real profanity judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import PoolTooSmall
from llm_repair.core.evaluation import Engine, Judge, ProfanityJudge
from llm_repair.core.steps import BuildPoolStep
from llm_repair.evaluation import build_pool
from llm_repair.evaluation.build_pool import NoPair, Pair, ScoredSample, pair_ends
from llm_repair.models.inference.generation import Generation


def samples(*scored: tuple[float | None, int] | tuple[float | None, int, str]) -> list[ScoredSample]:
    """(score, tokens, text) by draw."""
    return [
        ScoredSample(Generation("p", draw, str(rest[0]) if rest else f"text {draw}", tokens), score)
        for draw, (score, tokens, *rest) in enumerate(scored)
    ]


def ends(*scored: Any, min_gap: float = 0.5, min_chosen_tokens: int = 8) -> tuple[int, int] | NoPair:
    found = pair_ends(samples(*scored), min_gap=min_gap, min_chosen_tokens=min_chosen_tokens)
    return (found.chosen.sample.draw, found.rejected.sample.draw) if isinstance(found, Pair) else found


def test_the_least_and_the_most_toxic_sample_pair_up() -> None:
    assert ends((0.4, 20), (0.1, 20), (0.9, 20), (0.2, 20)) == (1, 2)


def test_the_smaller_draw_wins_among_equals() -> None:
    assert ends((0.1, 20), (0.9, 20), (0.9, 20), (0.1, 20)) == (0, 1)


def test_a_chosen_sample_is_long_enough_and_not_blank() -> None:
    assert ends((0.0, 7), (0.0, 20, " \n"), (0.9, 3), (0.2, 8)) == (3, 2)


def test_a_gap_of_exactly_the_least_is_enough() -> None:
    assert ends((0.25, 20), (0.75, 20)) == (0, 1)
    assert ends((0.26, 20), (0.75, 20)) is NoPair.GAP_TOO_SMALL


def test_missing_scores_are_no_candidates() -> None:
    assert ends((None, 20), (0.9, 20), (0.3, 20), (None, 20)) == (2, 1)
    assert ends((None, 20), (0.9, 20)) is NoPair.UNSCORED


def test_prompts_without_a_pair_say_why() -> None:
    assert ends((0.1, 20), (0.4, 20)) is NoPair.NEVER_TOXIC
    assert ends((0.6, 20), (0.9, 20)) is NoPair.GAP_TOO_SMALL
    assert ends((0.1, 3), (0.9, 20)) is NoPair.NO_CHOSEN


def test_a_small_gap_below_the_threshold_is_a_pair_if_asked_for() -> None:
    assert ends((0.1, 20), (0.4, 20), min_gap=0.2) == (0, 1)


def test_a_sample_is_never_paired_with_itself() -> None:
    assert ends((0.9, 20), (0.1, 3), min_gap=0.0) is NoPair.NO_CHOSEN


@pytest.fixture
def step(store: ArtifactStore, llama_folder: Path, put_prompts: Callable[[Mapping[str, str]], str]) -> BuildPoolStep:
    return BuildPoolStep(
        model_digest=store.put_tree(llama_folder).digest,
        prompts_digest=put_prompts({f"p{number:02d}": f"prompt number {number}" for number in range(12)}),
        judge=Judge(ProfanityJudge()),
        engine=Engine(),
        draws=4,
        max_new_tokens=12,
        top_p=0.9,
        temperature=1.0,
        # A model of random weights writes no words, so its scores differ by little.
        min_gap=1e-6,
        min_chosen_tokens=4,
        seed=3,
    )


def test_the_pool_holds_the_judges_ends_of_each_prompt(
    step: BuildPoolStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    made = build_pool.run(step, store, new_context())

    rows = read_rows(store, made.outputs["pool"].digest)
    prompts = {row.id: row.prompt for row in read_rows(store, step.prompts_digest)}
    assert 0 < len(rows) == made.summary["pairs"] <= 12
    for row in rows:
        assert row.prompt == prompts[row.id]
        assert row.chosen.strip() and row.rejected.strip()
        assert row.extra["rejected_toxicity"] - row.extra["chosen_toxicity"] >= step.min_gap  # type: ignore[operator]
    reasons = [made.summary[reason.value] for reason in NoPair]
    assert made.summary["prompts"] == made.summary["pairs"] + sum(reasons) == 12  # type: ignore[arg-type]


def test_the_same_step_gives_the_same_pool(
    step: BuildPoolStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    first = build_pool.run(step, store, new_context()).outputs["pool"]

    assert build_pool.run(step, store, new_context()).outputs["pool"] == first


def test_no_pair_at_all_is_an_error_with_the_counts(
    step: BuildPoolStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    with pytest.raises(PoolTooSmall) as raised:
        build_pool.run(dataclasses.replace(step, min_gap=1.0), store, new_context())

    assert raised.value.metadata["prompts"] == "12"
    assert raised.value.metadata["pairs"] == "0"
