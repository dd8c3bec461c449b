"""Texts that a model says by itself: on a tiny model against its own generation, and by a scripted engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, InvalidFields, ModelInvalid, PromptTooLong, StepCancelled
from llm_repair.core.evaluation import Engine, WeightFormat
from llm_repair.core.steps import SampleTextsStep
from llm_repair.evaluation import sample_texts, sampling_run
from llm_repair.models.inference.generation import Generation, Prompt, generate
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import load_language_model

EOS = 0


@pytest.fixture
def step(store: ArtifactStore, llama_folder: Path) -> SampleTextsStep:
    return SampleTextsStep(
        model_digest=store.put_tree(llama_folder).digest,
        engine=Engine(weights=WeightFormat.FLOAT32),
        texts=6,
        max_new_tokens=9,
        top_p=0.9,
        temperature=1.0,
        seed=5,
    )


@pytest.fixture
def made_by(store: ArtifactStore, new_context: Callable[..., Any]) -> Callable[[SampleTextsStep], dict[str, str]]:
    """Runs a step and returns its texts by id."""

    def texts(step: SampleTextsStep) -> dict[str, str]:
        made = sample_texts.run(step, store, new_context())
        return {row.id: row.text for row in read_rows(store, made.outputs["dataset"].digest)}

    return texts


def test_a_text_is_what_the_model_continues_its_start_token_with(
    step: SampleTextsStep, llama_folder: Path, made_by: Callable[[SampleTextsStep], dict[str, str]]
) -> None:
    model = load_language_model(llama_folder, weights=WeightFormat.FLOAT32)
    sampling = Sampling(draws=1, max_new_tokens=9, top_p=0.9, temperature=1.0, seed=5)
    prompts = [Prompt(f"utility-00000{number}", (EOS,)) for number in range(1, 7)]

    texts = made_by(step)

    expected = {one.prompt_id: one.text for batch in generate(model, prompts, sampling) for one in batch}
    assert texts == expected
    assert len(set(texts.values())) > 1


def test_a_repeat_is_equal_and_another_seed_is_not(
    step: SampleTextsStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    first, second = (sample_texts.run(step, store, new_context()) for _ in range(2))
    other = sample_texts.run(dataclasses.replace(step, seed=6), store, new_context())

    assert first.outputs == second.outputs
    assert other.outputs != first.outputs


def test_more_texts_begin_with_the_fewer(
    step: SampleTextsStep, made_by: Callable[[SampleTextsStep], dict[str, str]]
) -> None:
    few, more = made_by(dataclasses.replace(step, texts=3)), made_by(dataclasses.replace(step, texts=11))

    assert few.items() < more.items()


def test_what_was_generated_is_counted_and_told(
    step: SampleTextsStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    context = new_context()

    made = sample_texts.run(step, store, context)

    assert made.summary["texts"] == 6
    assert made.summary["blank"] == 0
    assert context.tokens == made.summary["generated_tokens"] > 0
    assert context.stages == ["loading model", "generating"]
    assert set(made.summary["seconds"]) == {"engine_start_s", "generation_s"}


class ScriptedEngine:
    """Says what it is told to, whatever the prompt."""

    context_tokens = 100

    def __init__(self, texts: Sequence[str], bos: int | None = None, eos: int | None = None) -> None:
        self._texts = texts
        self.prompts: list[Prompt] = []
        self.closed = False
        self.tokens = SimpleNamespace(tokenizer=SimpleNamespace(bos_token_id=bos, eos_token_id=eos))

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, beat: Callable[[], None]
    ) -> Iterator[list[Generation]]:
        self.prompts += prompts
        yield [Generation(prompt.id, 0, text, 3) for prompt, text in zip(prompts, self._texts, strict=True)]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def sampled_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedEngine], ScriptedEngine]:
    def put(engine: ScriptedEngine) -> ScriptedEngine:
        monkeypatch.setattr(sampling_run, "open_engine", lambda choice, store, digest, context: engine)
        return engine

    return put


def test_blank_texts_are_counted_and_left_out(
    step: SampleTextsStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    sampled_by: Callable[[ScriptedEngine], ScriptedEngine],
) -> None:
    sampled_by(ScriptedEngine(["one", "", " two", " \n", "five", ""], eos=EOS))

    made = sample_texts.run(step, store, new_context())

    rows = read_rows(store, made.outputs["dataset"].digest)
    assert [(row.id, row.text) for row in rows] == [
        ("utility-000001", "one"),
        ("utility-000003", " two"),
        ("utility-000005", "five"),
    ]
    assert (made.summary["texts"], made.summary["blank"]) == (3, 3)


def test_a_model_that_says_nothing_is_refused(
    step: SampleTextsStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    sampled_by: Callable[[ScriptedEngine], ScriptedEngine],
) -> None:
    engine = sampled_by(ScriptedEngine([""] * 6, eos=EOS))

    with pytest.raises(DatasetInvalid) as caught:
        sample_texts.run(step, store, new_context())

    assert caught.value.metadata == {"texts": "6"}
    assert engine.closed


@pytest.mark.parametrize(("bos", "eos", "start"), [(3, 4, 3), (None, 4, 4), (0, None, 0)])
def test_a_text_begins_with_bos_or_else_eos(
    bos: int | None,
    eos: int | None,
    start: int,
    step: SampleTextsStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    sampled_by: Callable[[ScriptedEngine], ScriptedEngine],
) -> None:
    engine = sampled_by(ScriptedEngine(["text"] * 6, bos, eos))

    sample_texts.run(step, store, new_context())

    assert {prompt.ids for prompt in engine.prompts} == {(start,)}


def test_a_tokenizer_without_a_start_is_refused(
    step: SampleTextsStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    sampled_by: Callable[[ScriptedEngine], ScriptedEngine],
) -> None:
    engine = sampled_by(ScriptedEngine(["text"] * 6))

    with pytest.raises(ModelInvalid, match="BOS"):
        sample_texts.run(step, store, new_context())

    assert engine.closed


def test_a_cancelled_step_stops(step: SampleTextsStep, store: ArtifactStore, new_context: Callable[..., Any]) -> None:
    context = new_context(cancel_at_look=3)

    with pytest.raises(StepCancelled):
        sample_texts.run(step, store, context)

    assert context.looks == 3


def test_texts_longer_than_the_context_are_refused_before_any_is_made(
    step: SampleTextsStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    context = new_context()

    with pytest.raises(PromptTooLong):
        sample_texts.run(dataclasses.replace(step, max_new_tokens=128), store, context)

    assert context.tokens == 0


def test_parameters_out_of_range_are_named_at_once(
    step: SampleTextsStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    bad = dataclasses.replace(step, texts=0, max_new_tokens=5000, top_p=0.0, temperature=0.0)

    with pytest.raises(InvalidFields) as caught:
        sample_texts.run(bad, store, new_context())

    assert [violation.field for violation in caught.value.violations] == [
        "texts",
        "max_new_tokens",
        "top_p",
        "temperature",
    ]
