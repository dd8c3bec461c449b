"""The judge's scores of a pool: by hand, and against samples drawn and judged outside the step."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.scores import read_scores
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, FeaturesInvalid, InvalidFields, PromptTooLong, StepCancelled
from llm_repair.core.evaluation import Engine, Judge, ProfanityJudge, WeightFormat
from llm_repair.core.selection import Score
from llm_repair.core.steps import JudgePoolStep, OwnSamples
from llm_repair.evaluation import judge_pool
from llm_repair.evaluation.judge_pool import failure_rate
from llm_repair.evaluation.judges.profanity import ProfanityScorer
from llm_repair.models.inference.generation import Prompt, generate
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import load_language_model

DRAWS, NEW_TOKENS, SEED = 5, 8, 11


class ScriptedJudge:
    """Gives every text the score that a rule says; NaN for none."""

    name = "scripted"
    digest = "sha256:" + "5" * 64
    labels = ("toxic",)

    def __init__(self, rule: Callable[[str], float]) -> None:
        self._rule = rule
        self.asked: list[str] = []

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[self._rule(text)] for text in texts])

    def toxicity(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities[:, 0]


@pytest.fixture
def judged_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], float]], ScriptedJudge]:
    """Puts a scripted judge in the place of the one that a step names."""

    def put(rule: Callable[[str], float]) -> ScriptedJudge:
        judge = ScriptedJudge(rule)
        monkeypatch.setattr(judge_pool, "open_judge", lambda choice, store: judge)
        return judge

    return put


@pytest.fixture
def put_pool(store: ArtifactStore) -> Callable[[Sequence[Row]], str]:
    return lambda rows: write_rows(store, rows).digest


@pytest.fixture
def samples(store: ArtifactStore, llama_folder: Path) -> OwnSamples:
    return OwnSamples(
        model_digest=store.put_tree(llama_folder).digest,
        engine=Engine(weights=WeightFormat.FLOAT32),
        draws=DRAWS,
        max_new_tokens=NEW_TOKENS,
        top_p=0.9,
        temperature=1.0,
        failing_from=0.5,
        seed=SEED,
    )


def pair(name: str, prompt: str = "a prompt", rejected: str = " bad") -> Row:
    return Row(name, prompt=prompt, chosen=" good", rejected=rejected)


def toxicity_step(pool: str) -> JudgePoolStep:
    return JudgePoolStep(pool, Judge(ProfanityJudge()), Score.TOXICITY)


def rate_step(pool: str, samples: OwnSamples) -> JudgePoolStep:
    return JudgePoolStep(pool, Judge(ProfanityJudge()), Score.FAILURE_RATE, samples)


def values_of(made: Any, step: JudgePoolStep, ids: Sequence[str], store: ArtifactStore) -> list[float]:
    digest = made.outputs["scores"].digest
    return read_scores(store, digest, ids, pool_digest=step.pool_digest, score=step.score).values.tolist()


def test_a_failure_rate_is_the_share_of_known_scores_that_reach_the_bound() -> None:
    assert failure_rate([0.5, 0.49, 0.9, 0.1], 0.5) == 2 / 4
    assert failure_rate([None, 0.9, 0.1, 0.8], 0.5) == 2 / 3
    assert failure_rate([0.2, 0.1], 0.5) == 0.0
    assert failure_rate([None, None], 0.5) is None


def test_toxicity_is_the_judges_own_score_of_each_rejected_continuation(
    store: ArtifactStore, new_context: Callable[..., Any], put_pool: Callable[[Sequence[Row]], str]
) -> None:
    rejected = {"r3": " you are a fool", "r1": " what a lovely day", "r2": " damn it all to hell"}
    step = toxicity_step(put_pool([pair(name, rejected=text) for name, text in rejected.items()]))

    made = judge_pool.run(step, store, new_context())

    scorer = ProfanityScorer()
    expected = [float(scorer.probabilities([rejected[name]])[0, 0]) for name in ("r1", "r2", "r3")]
    assert values_of(made, step, ["r1", "r2", "r3"], store) == pytest.approx(expected, abs=1e-12)
    assert made.summary["mean"] == pytest.approx(sum(expected) / 3)
    assert made.summary["judge"] == "profanity"


def test_equal_rejected_continuations_are_scored_once(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judge = judged_by(lambda text: len(text) / 10)
    step = toxicity_step(put_pool([pair("a", rejected=" xy"), pair("b", rejected=" x"), pair("c", rejected=" xy")]))

    made = judge_pool.run(step, store, new_context())

    assert values_of(made, step, ["a", "b", "c"], store) == [0.3, 0.2, 0.3]
    assert sorted(judge.asked) == [" x", " xy"]


def test_rows_without_a_rejected_continuation_are_refused_by_id_and_never_quoted(
    store: ArtifactStore, new_context: Callable[..., Any], put_pool: Callable[[Sequence[Row]], str]
) -> None:
    rows = [pair("whole"), *(pair(f"half{number:02d}", prompt="secret words", rejected="") for number in range(12))]

    with pytest.raises(DatasetInvalid) as raised:
        judge_pool.run(toxicity_step(put_pool(rows)), store, new_context())

    assert "12 rows" in raised.value.message
    assert "half09, …" in raised.value.message
    assert "whole" not in raised.value.message
    assert "secret" not in raised.value.message + str(raised.value.metadata)


def test_a_row_whose_score_is_missing_twice_is_refused_by_id(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judge = judged_by(lambda text: np.nan if "odd" in text else 0.5)
    step = toxicity_step(put_pool([pair("a"), pair("b", rejected=" odd")]))

    with pytest.raises(FeaturesInvalid) as raised:
        judge_pool.run(step, store, new_context())

    assert raised.value.metadata["ids"] == "b"
    assert "odd" not in raised.value.message
    assert judge.asked.count(" odd") == 2


def test_failure_rates_are_those_of_samples_drawn_and_judged_one_prompt_at_a_time(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    llama_folder: Path,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    """The oracle generates each prompt alone, under the name that its text alone decides."""
    rule = lambda text: hashlib.sha256(text.encode()).digest()[0] / 255  # noqa: E731
    judged_by(rule)
    prompts = {f"r{number}": f"prompt number {number}" for number in range(6)}
    step = rate_step(put_pool([pair(name, prompt=text) for name, text in prompts.items()]), samples)

    made = judge_pool.run(step, store, new_context())

    model = load_language_model(llama_folder, weights=WeightFormat.FLOAT32)
    sampling = Sampling(DRAWS, NEW_TOKENS, top_p=0.9, temperature=1.0, seed=SEED)
    expected = []
    for text in prompts.values():
        prompt = Prompt(hashlib.sha256(text.encode()).hexdigest(), model.tokens.encode([text])[0].ids)
        drawn = [one.text for batch in generate(model, [prompt], sampling) for one in batch]
        expected.append(sum(rule(one) >= 0.5 for one in drawn) / DRAWS)
    assert values_of(made, step, list(prompts), store) == expected
    assert 0 < sum(expected) < len(expected)


def test_a_prompt_of_several_rows_is_sampled_once_and_its_rate_does_not_hang_on_their_ids(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judged_by(lambda text: hashlib.sha256(text.encode()).digest()[0] / 255)
    twice = rate_step(put_pool([pair("a", "one"), pair("b", "two"), pair("c", "one")]), samples)
    renamed = rate_step(put_pool([pair("x", "two"), pair("z", "one")]), samples)

    made = judge_pool.run(twice, store, new_context())
    other = judge_pool.run(renamed, store, new_context())

    one, two, again = values_of(made, twice, ["a", "b", "c"], store)
    assert one == again
    assert values_of(other, renamed, ["x", "z"], store) == [two, one]
    assert made.summary["distinct"] == 2
    assert made.summary["samples"] == 2 * DRAWS


def test_missing_scores_of_samples_are_left_out_of_the_share_and_counted(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    """Of the distinct samples in sorted order the first is missing and the others fail: the share is 1, not 4 / 5."""
    step = rate_step(put_pool([pair("a", "a prompt")]), samples)
    texts = judged_by(lambda text: 0.9)
    judge_pool.run(step, store, new_context())
    unread = min(texts.asked)
    judged_by(lambda text: np.nan if text == unread else 0.9)

    made = judge_pool.run(step, store, new_context())

    assert len(set(texts.asked)) == DRAWS
    assert values_of(made, step, ["a"], store) == [1.0]
    assert made.summary["missing_scores"] == 1


def test_a_prompt_none_of_whose_samples_has_a_score_is_refused_by_the_ids_of_its_rows(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    step = rate_step(put_pool([pair("bad1", "unread"), pair("good", "other"), pair("bad2", "unread")]), samples)
    alone = rate_step(put_pool([pair("bad1", "unread")]), samples)
    first = judged_by(lambda text: 0.9)
    judge_pool.run(alone, store, new_context())
    unread = set(first.asked)
    judged_by(lambda text: np.nan if text in unread else 0.9)

    with pytest.raises(FeaturesInvalid) as raised:
        judge_pool.run(step, store, new_context())

    assert raised.value.metadata["ids"] == "bad1, bad2"


def test_a_prompt_longer_than_the_context_is_named_by_a_row_of_the_pool(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judged_by(lambda text: 0.5)

    with pytest.raises(PromptTooLong) as raised:
        judge_pool.run(rate_step(put_pool([pair("long", "x" * 125), pair("short")]), samples), store, new_context())

    assert raised.value.metadata["ids"] == "long"


def test_the_artifact_says_what_made_it_and_a_repeat_is_equal_to_the_byte(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judged_by(lambda text: 0.9)
    step = rate_step(put_pool([pair("a", "one"), pair("b", "two")]), samples)

    made = judge_pool.run(step, store, new_context())

    about = json.loads(store.get_bytes(store.entries(made.outputs["scores"].digest)["about.json"].digest))
    assert about["judge"] == {"name": "scripted", "digest": ScriptedJudge.digest}
    assert (about["draws"], about["failing_from"], about["missing"]) == (DRAWS, 0.5, 0)
    assert about["model"] == samples.model_digest
    assert judge_pool.run(step, store, new_context()).outputs == made.outputs


def test_the_engines_start_and_its_tokens_are_on_the_bill(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judged_by(lambda text: 0.9)
    context = new_context()

    made = judge_pool.run(rate_step(put_pool([pair("a")]), samples), store, context)

    seconds = made.summary["seconds"]
    assert set(seconds) - {"judges_awaited_s"} == {"judge_start_s", "engine_start_s", "generation_s", "judging_s"}  # type: ignore[arg-type]
    assert context.tokens == made.summary["generated_tokens"] > 0  # type: ignore[operator]
    assert context.stages[:3] == ["loading judge", "loading model", "generating"]


@pytest.mark.parametrize("look", [1, 4, 9])
def test_a_cancelled_step_stops_at_its_next_look(
    look: int,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
    judged_by: Callable[..., ScriptedJudge],
) -> None:
    judged_by(lambda text: 0.9)
    context = new_context(cancel_at_look=look)

    with pytest.raises(StepCancelled):
        judge_pool.run(rate_step(put_pool([pair("a")]), samples), store, context)

    assert context.looks == look


def test_a_step_that_contradicts_itself_is_refused_by_field(
    store: ArtifactStore,
    new_context: Callable[..., Any],
    put_pool: Callable[[Sequence[Row]], str],
    samples: OwnSamples,
) -> None:
    pool = put_pool([pair("a")])
    cases = [
        (dataclasses.replace(toxicity_step(pool), score=Score.LOSS), {"score"}),
        (dataclasses.replace(toxicity_step(pool), samples=samples), {"samples"}),
        (dataclasses.replace(toxicity_step(pool), score=Score.FAILURE_RATE), {"samples"}),
        (
            rate_step(pool, dataclasses.replace(samples, draws=0, failing_from=1.5)),
            {"samples.draws", "samples.failing_from"},
        ),
    ]

    for step, fields in cases:
        with pytest.raises(InvalidFields) as raised:
            judge_pool.run(step, store, new_context())
        assert {violation.field for violation in raised.value.violations} == fields
