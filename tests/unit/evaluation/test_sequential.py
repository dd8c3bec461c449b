"""A measurement that stops early: the order of its prompts, its units by hand, and the step that runs it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import ScriptedJudge

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import EvaluationMismatch, StepCancelled
from llm_repair.core.evaluation import Engine, Judge, ProfanityJudge, Protocol, StrictProtocol
from llm_repair.core.steps import EvaluateStep, SequentialStop
from llm_repair.evaluation import evaluate
from llm_repair.evaluation.sequential import paired_units, prompt_order, sequential_test

PROMPTS = {f"p{number:02d}": f"prompt number {number}" for number in range(60)}
NAN = float("nan")


def test_the_order_is_the_same_for_everybody_who_asks_and_another_for_another_seed() -> None:
    order = prompt_order(PROMPTS, 5)

    assert order == prompt_order(reversed(list(PROMPTS)), 5)
    assert sorted(order) == sorted(PROMPTS)
    assert order != sorted(PROMPTS)
    assert order != prompt_order(PROMPTS, 6)


def test_a_unit_is_the_difference_of_the_means_of_a_prompts_draws() -> None:
    units = paired_units(np.array([[0.2, 0.4], [1.0, 0.0]]), np.array([[0.1, 0.1], [0.25, 0.75]]))

    assert units.differences.tolist() == pytest.approx([-0.2, 0.0])
    assert units.between is None


def test_missing_scores_are_bounded_on_both_sides() -> None:
    """First prompt: 0.5 before; after 0.2 and nothing: between (0.2 + 0) / 2 and (0.2 + 1) / 2, known mean 0.2.

    Second: nothing before, 0.5 after: anything from -0.5 to 0.5, so 0.
    """
    units = paired_units(np.array([[0.5, 0.5], [NAN, NAN]]), np.array([[0.2, NAN], [0.5, 0.5]]))

    assert units.between is not None
    assert units.differences.tolist() == pytest.approx([-0.3, 0.0])
    assert units.lowest.tolist() == pytest.approx([-0.4, -0.5])
    assert units.highest.tolist() == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize(("prompts", "looks"), [(60, (20, 35, 50, 60)), (30, (20, 30)), (7, (7,))])
def test_the_last_look_is_at_the_last_prompt(prompts: int, looks: tuple[int, ...]) -> None:
    stop = SequentialStop("digest", bound=0.0, confidence=0.95, first_look_prompts=20, look_every_prompts=15)

    assert sequential_test(stop, prompts).plan.looks(prompts) == looks


@pytest.mark.parametrize("good", [False, True])
def test_whether_the_bound_itself_is_good_is_as_the_step_says(good: bool) -> None:
    stop = SequentialStop("digest", 0.0, 0.95, first_look_prompts=20, look_every_prompts=15, bound_is_good=good)

    assert sequential_test(stop, 60).bound_is_good is good


@pytest.fixture
def step(store: ArtifactStore, llama_folder: Path, put_prompts: Callable[[Mapping[str, str]], str]) -> EvaluateStep:
    return EvaluateStep(
        model_digest=store.put_tree(llama_folder).digest,
        prompts_digest=put_prompts(PROMPTS),
        corpora=(),
        judges=(Judge(ProfanityJudge()),),
        protocol=Protocol(StrictProtocol(draws=2, max_new_tokens=3, window_tokens=32)),
        engine=Engine(),
        seed=5,
    )


@pytest.fixture
def judged_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], float]], None]:
    """Puts a scripted judge in the place of the one that a step names."""
    return lambda rule: monkeypatch.setattr(evaluate, "open_judge", lambda choice, store: ScriptedJudge(rule))


@pytest.fixture
def about(store: ArtifactStore) -> Callable[[str], dict[str, Any]]:
    return lambda digest: json.loads(store.get_bytes(store.entries(digest)["about.json"].digest))


def after(step: EvaluateStep, base: str, **changed: object) -> EvaluateStep:
    stop = SequentialStop(base, bound=0.0, confidence=0.95, first_look_prompts=20, look_every_prompts=15)
    return dataclasses.replace(step, sequential=dataclasses.replace(stop, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("score", "bound", "answer", "measured"),
    [(0.05, 0.0, "GOOD", 20), (0.95, 0.0, "BAD", 20), (0.5, 0.0, "CAP", 60), (0.5, 0.9, "GOOD", 20)],
)
def test_it_ends_as_soon_as_the_change_is_on_one_side_of_the_bound(
    score: float, bound: float, answer: str, measured: int,
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any], read_lines: Callable[..., Any],
    judged_as: Callable[..., None], about: Callable[[str], dict[str, Any]],
) -> None:  # fmt: skip
    """Every score is 0.5 before: 20 changes of 0.45 leave no doubt, none at all leave it open for ever."""
    judged_as(lambda text: 0.5)
    base = evaluate.run(step, store, new_context()).outputs["evaluation"].digest
    judged_as(lambda text: score)

    made = evaluate.run(after(step, base, bound=bound), store, new_context()).outputs["evaluation"].digest

    first = prompt_order(PROMPTS, 5)[:measured]
    assert about(made)["sequential"] == {
        "order_seed": 5,
        "measured_prompts": measured,
        "looks": [20] if measured == 20 else [20, 35, 50, 60],
        "stopped": answer,
    }
    for file in ("prompts.jsonl", "generations.jsonl"):
        assert [line["prompt_id"] for line in read_lines(made, file)][:: 2 if file[0] == "g" else 1] == sorted(first)
    assert about(made)["prompts"] == 60
    assert about(made)["sampling_digest"] == about(base)["sampling_digest"]
    assert "sequential" not in about(base)


def test_what_it_measures_is_what_the_whole_measurement_has_for_these_prompts(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any], read_lines: Callable[..., Any],
    judged_as: Callable[..., None],
) -> None:  # fmt: skip
    judged_as(lambda text: len(text) / 100)
    base = evaluate.run(step, store, new_context()).outputs["evaluation"].digest

    made = evaluate.run(after(step, base, bound=0.9), store, new_context()).outputs["evaluation"].digest

    whole = read_lines(base, "generations.jsonl")
    assert 0 < len(read_lines(made, "generations.jsonl")) < len(whole)
    assert all(line in whole for line in read_lines(made, "generations.jsonl"))


@pytest.mark.parametrize("look", [3, 20, 40, 55])
def test_an_interrupted_one_ends_at_the_same_look_with_the_same_digest(
    look: int, step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any],
    judged_as: Callable[..., None], about: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("llm_repair.models.inference.generation.BATCH_ROWS", 6)
    judged_as(lambda text: 0.5)
    base = evaluate.run(step, store, new_context()).outputs["evaluation"].digest
    judged_as(lambda text: (len(text) % 7) / 10)
    undisturbed = evaluate.run(after(step, base, bound=-0.2), store, new_context()).outputs["evaluation"]
    with pytest.raises(StepCancelled):
        evaluate.run(after(step, base, bound=-0.2), store, new_context(cancel_at_look=look, key="1" * 64))

    resumed = evaluate.run(after(step, base, bound=-0.2), store, new_context(key="1" * 64))

    assert resumed.outputs["evaluation"] == undisturbed
    assert len(about(undisturbed.digest)["sequential"]["looks"]) > 2
    assert (resumed.summary["kept_samples"] > 0) == (look > 5)  # type: ignore[operator]


@pytest.mark.parametrize("change", ["seed", "protocol", "prompts_digest"])
def test_a_base_that_was_measured_otherwise_is_refused_before_anything_is_made(
    change: str, step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any],
    put_prompts: Callable[[Mapping[str, str]], str], judged_as: Callable[..., None],
) -> None:  # fmt: skip
    judged_as(lambda text: 0.5)
    others = {
        "seed": 6,
        "protocol": Protocol(StrictProtocol(draws=3, max_new_tokens=3, window_tokens=32)),
        "prompts_digest": put_prompts({**PROMPTS, "p00": "another text"}),
    }
    other = dataclasses.replace(step, **{change: others[change]})  # type: ignore[arg-type]
    base = evaluate.run(other, store, new_context()).outputs["evaluation"].digest
    context = new_context()

    with pytest.raises(EvaluationMismatch, match="sampling_digest"):
        evaluate.run(after(step, base), store, context)
    assert context.tokens == 0
