"""Sampling with judges behind the engine: whatever ends a run, the next attempt makes what is missing and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
from scripted import ScriptedEngine, ScriptedJudge

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import EngineUnavailable, JudgeUnavailable, PromptTooLong, StepCancelled
from llm_repair.evaluation import sampling_run
from llm_repair.evaluation.judging_thread import JudgingThread
from llm_repair.evaluation.kept_samples import JudgedSample, KeptSamples
from llm_repair.evaluation.sampling_run import SamplingRun, run_identity, sampled, sampling_digest
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation, Prompt
from llm_repair.models.inference.sampling import Sampling

SAMPLING = Sampling(draws=2, max_new_tokens=3, seed=1)
PROMPTS = [Prompt(name, (1, 2)) for name in "edcba"]
PLACES = [(name, draw) for name in "abcde" for draw in range(2)]


def by_length(text: str) -> float:
    return len(text) / 100


class Attempts:
    """Attempts at one step, each with an engine and a context of its own."""

    def __init__(self, store: ArtifactStore, new_context: Callable[..., Any]) -> None:
        self._store = store
        self._new_context = new_context
        self.engines: list[ScriptedEngine] = []

    def run(
        self,
        rule: Callable[[str], float] = by_length,
        *,
        engine: ScriptedEngine | None = None,
        prompts: Sequence[Prompt] = PROMPTS,
        sampling: Sampling = SAMPLING,
        cancel_at_look: int | None = None,
    ) -> list[JudgedSample]:
        self.engines.append(engine or ScriptedEngine())
        self.context = self._new_context(cancel_at_look=cancel_at_look)
        judges = [ScriptedJudge(rule)]
        return sampled(self.engines[-1], prompts, sampling, judges, self._store, self.context, Stopwatch())  # type: ignore[arg-type]


@pytest.fixture
def attempts(store: ArtifactStore, new_context: Callable[..., Any]) -> Attempts:
    return Attempts(store, new_context)


class BreakingEngine(ScriptedEngine):
    """Breaks down after its first batch."""

    def generate(self, *args: Any, **options: Any) -> Generator[list[Generation]]:
        yield next(super().generate(*args, **options))
        raise EngineUnavailable("the engine stopped")


def test_samples_come_by_prompt_and_draw_with_their_scores(attempts: Attempts) -> None:
    made = attempts.run()

    assert [(one.sample.prompt_id, one.sample.draw) for one in made] == PLACES
    assert [one.judged.scores for one in made] == [(by_length(one.sample.text),) for one in made]
    assert attempts.context.tokens == 2 * len(PLACES)
    assert attempts.engines[0].is_closed


@pytest.mark.parametrize("look", range(1, 10))
def test_a_run_that_is_cancelled_anywhere_goes_on_from_whole_batches(look: int, attempts: Attempts) -> None:
    """Three batches of three tokens each are nine looks at cancellation; the batches before the look are kept."""
    with pytest.raises(StepCancelled):
        attempts.run(cancel_at_look=look)

    made = attempts.run()

    interrupted, resumed = attempts.engines
    whole_batches = (look - 1) // 3
    assert interrupted.made == PLACES[: 4 * whole_batches]
    assert resumed.made == PLACES[4 * whole_batches :]
    assert [(one.sample.prompt_id, one.sample.draw) for one in made] == PLACES
    assert [one.judged.scores for one in made] == [(by_length(one.sample.text),) for one in made]
    assert bool(attempts.context.notes) == bool(whole_batches)


def test_an_engine_that_breaks_down_keeps_what_it_had_made(attempts: Attempts) -> None:
    with pytest.raises(EngineUnavailable):
        attempts.run(engine=BreakingEngine())

    made = attempts.run()

    assert attempts.engines[1].made == PLACES[4:]
    assert len(made) == len(PLACES)


def test_a_judge_that_breaks_down_ends_the_run_and_all_samples_are_kept(attempts: Attempts) -> None:
    """It breaks down at the second batch: what is judged is kept with its scores, the rest without."""

    class Broken(Exception):
        pass

    def rule(text: str) -> float:
        if text == " c0":
            raise Broken
        return by_length(text)

    with pytest.raises(Broken):
        attempts.run(rule)

    made = attempts.run()

    interrupted, resumed = attempts.engines
    assert len(interrupted.made) >= 8
    assert resumed.made == PLACES[len(interrupted.made) :]
    assert [one.judged.scores for one in made] == [(by_length(one.sample.text),) for one in made]


def test_a_judge_that_is_silent_on_everything_is_refused(attempts: Attempts) -> None:
    with pytest.raises(JudgeUnavailable, match="no score to any of 10 texts"):
        attempts.run(lambda text: float("nan"))


def test_a_judge_that_is_silent_on_a_batch_leaves_scores_missing(attempts: Attempts) -> None:
    made = attempts.run(lambda text: float("nan") if text < " c" else 0.5)

    assert [one.judged.scores[0] for one in made] == [None] * 4 + [0.5] * 6


def test_a_prompt_too_long_is_named_before_anything_is_made(attempts: Attempts) -> None:
    with pytest.raises(PromptTooLong, match="long"):
        attempts.run(prompts=[*PROMPTS, Prompt("long", (1,) * 98)])

    assert attempts.engines[0].made == []


def test_draws_that_were_kept_in_part_are_made_again_as_a_whole(attempts: Attempts) -> None:
    """Six draws of a prompt are two batches of three; the run ends in the second of the first prompt."""
    sampling = Sampling(draws=6, max_new_tokens=3, seed=1)
    prompts = [Prompt("a", (1,)), Prompt("b", (1,))]
    with pytest.raises(StepCancelled):
        attempts.run(engine=ScriptedEngine(3), prompts=prompts, sampling=sampling, cancel_at_look=5)

    made = attempts.run(engine=ScriptedEngine(3), prompts=prompts, sampling=sampling)

    assert attempts.engines[1].made == [(name, draw) for name in "ab" for draw in range(6)]
    assert [(one.sample.prompt_id, one.sample.draw) for one in made] == attempts.engines[1].made


def test_sets_of_prompts_are_kept_apart(store: ArtifactStore, new_context: Callable[..., Any]) -> None:
    engine, context, watch = ScriptedEngine(), new_context(), Stopwatch()
    judge = ScriptedJudge(by_length)
    with (
        JudgingThread([judge], watch) as judging,
        SamplingRun(engine, judging, KeptSamples(store, context, watch, {}), context, watch) as run,
    ):
        run.generate("", PROMPTS, SAMPLING)
        run.generate("benign", PROMPTS[:2], SAMPLING)
        gate, benign = run.judged("", PROMPTS), run.judged("benign", PROMPTS[:2])

    assert len(gate) == 10
    assert [one.sample.prompt_id for one in benign] == ["d", "d", "e", "e"]
    assert context.stages[:2] == ["generating", "generating benign"]
    # The same texts: judged once.
    assert sum(len(part) for part in judge.asked) == 10


def test_the_engine_is_never_far_ahead_of_the_judges(
    store: ArtifactStore, new_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the judge is busy with the first batch, the engine makes four more, and then waits, looking around."""
    monkeypatch.setattr(sampling_run, "_LOOK_S", 0.001)
    engine, context, go_on = ScriptedEngine(rows=2), new_context(), threading.Event()
    made_while_busy: list[int] = []

    def look() -> None:
        context.looks += 1
        # Eight batches have 24 tokens and as many looks: more can only come from waiting.
        if context.looks > 24 and not go_on.is_set():
            made_while_busy.append(len(engine.made) // 2)
            go_on.set()

    def rule(text: str) -> float:
        assert go_on.wait(30)
        return 0.5

    context.raise_if_cancelled = look
    prompts = [Prompt(f"p{number}", (1,)) for number in range(8)]
    made = sampled(engine, prompts, SAMPLING, [ScriptedJudge(rule)], store, context, Stopwatch())  # type: ignore[list-item]

    assert made_while_busy == [5]
    assert len(made) == 16


def test_the_digest_says_prompts_token_by_token_and_all_of_the_sampling() -> None:
    base = sampling_digest({"": PROMPTS}, SAMPLING)

    others = [
        sampling_digest({"": PROMPTS[::-1]}, SAMPLING),
        sampling_digest({"": [*PROMPTS[:4], Prompt("a", (1, 3))]}, SAMPLING),
        sampling_digest({"": PROMPTS, "benign": PROMPTS}, SAMPLING),
        sampling_digest({"": PROMPTS}, Sampling(draws=2, max_new_tokens=3, seed=2)),
        sampling_digest({"": PROMPTS}, Sampling(draws=2, max_new_tokens=3, seed=1, top_p=0.9)),
    ]

    assert others[0] == base
    assert len({base, *others}) == 5


def test_kept_samples_of_another_judge_are_foreign() -> None:
    first, second = ScriptedJudge(by_length), ScriptedJudge(by_length, name="second")

    assert run_identity("digest", [first]) != run_identity("digest", [second])
