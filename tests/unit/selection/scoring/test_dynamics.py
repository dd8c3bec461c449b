"""AUM and FORGETTING against a replay of the training in plain torch, and as a run that can crash and be cancelled."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, LossNotFinite, PoolTooSmall, StepCancelled
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.repair import DpoMethod, FullParameters, LoraParameters, Precision, RepairMethod
from llm_repair.core.scoring import scored_method
from llm_repair.core.selection import Score
from llm_repair.core.steps import ScoreStep, step_key
from llm_repair.models.training import log_probs
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.checkpoints import Checkpoints
from llm_repair.selection.scoring.dynamics import Measurements, dynamics_scores, margins_of
from llm_repair.selection.scoring.token_histories import FloatArray

WORDS = ["<end>", "<unk>", "the", "a", "cat", "dog", "bird", "sat", "ran", "sang", "on", "in", "mat", "rain", "sun"]
HABITS = {"cat": "sat on the mat", "dog": "ran in the rain", "bird": "sang"}
RATE, BATCH, SEED = 1e-2, 4, 11


class Recorded(StepContext, Protocol):
    """The context of the fixture, with what it recorded."""

    key: str
    tokens: int
    cancelled: bool
    notes: list[str]
    reports: list[tuple[float, float, str, str]]


def word_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights over a vocabulary of words."""
    folder = tmp_path_factory.mktemp("model")
    word_llama().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(folder)
    return folder


def pool(count: int = 10) -> list[Row]:
    """Animals and what they do, sorted by id."""
    animals = list(HABITS)
    rows: list[Row] = []
    for number in range(count):
        animal = animals[number % 3]
        prompt = ["the", "a", "on the mat the", "in the sun a"][number % 4] + f" {animal}"
        rows.append(Row(f"r{number:02}", prompt, HABITS[animal], "ran"))
    return rows


@dataclass(frozen=True)
class Scorer:
    """Runs the scores of one model against one store."""

    store: ArtifactStore
    context: Recorded
    model_digest: str

    def step(self, score: Score, epochs: int = 3, *, checkpoint_every_steps: int = 10, **method: object) -> ScoreStep:
        """Checkpoints do not decide a score, so a key has them at their default; here they must come sooner."""
        settings = {"trainable": FullParameters(), "learning_rate": RATE, "batch_samples": BATCH, **method}
        asked = RepairMethod(DpoMethod(), warmup_share=0.0, final_rate_share=1.0, **settings)
        canonical = scored_method(asked, score, dynamics_epochs=epochs)
        often = replace(canonical, checkpoint_every_steps=checkpoint_every_steps)
        return ScoreStep("sha256:pool", score, often, SEED, self.model_digest)

    def run(
        self, score: Score, rows: Sequence[Row], epochs: int = 3, **method: Any
    ) -> tuple[FloatArray, Mapping[str, Json]]:
        """Scores under a key of its own each time, so that nothing is resumed."""
        self.context.key = hashlib.sha256(str(len(self.context.reports)).encode()).hexdigest()
        return dynamics_scores(self.step(score, epochs, **method), rows, self.store, self.context)


@pytest.fixture
def scorer(store: ArtifactStore, context: Recorded, model_folder: Path) -> Scorer:
    return Scorer(store, context, store.put_tree(model_folder).digest)


def ids_of(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def replayed_margins(folder: Path, rows: Sequence[Row], epochs: int) -> list[list[list[float]]]:
    """The oracle: trains in plain torch, one sample at a time; margins by [epoch][row][token]."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    measured: list[list[list[float]]] = []
    for epoch in range(epochs):
        order = sorted(rows, key=lambda row: hashlib.sha256(f"order\n{SEED}\n{epoch}\n{row.id}".encode()).digest())
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            tokens = sum(len(ids_of(row.chosen)) for row in batch)
            optimizer.zero_grad()
            for row in batch:
                ids, first = torch.tensor([ids_of(row.prompt) + ids_of(row.chosen)]), len(ids_of(row.prompt))
                surprise = -model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[first - 1 :]
                (surprise.sum() / tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        measured.append([_margins(model, row) for row in rows])
    return measured


@torch.no_grad()
def _margins(model: LlamaForCausalLM, row: Row) -> list[float]:
    prompt, chosen = ids_of(row.prompt), ids_of(row.chosen)
    logits = model(torch.tensor([prompt + chosen])).logits[0].tolist()
    margins: list[float] = []
    for offset, token in enumerate(chosen):
        at = logits[len(prompt) + offset - 1]
        margins.append(at[token] - max(value for other, value in enumerate(at) if other != token))
    return margins


def test_aum_is_the_mean_margin_of_a_replay_in_plain_torch(scorer: Scorer, model_folder: Path) -> None:
    """Ten rows in batches of 4, 4 and 2, three epochs; the mean over a row's tokens, then over the epochs."""
    rows = pool()
    replay = replayed_margins(model_folder, rows, epochs=3)

    values, _ = scorer.run(Score.AUM, rows)

    expected = np.mean([[np.mean(margins) for margins in epoch] for epoch in replay], axis=0)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_forgetting_is_counted_on_the_predictions_of_a_replay(scorer: Scorer, model_folder: Path) -> None:
    """Rows with the same prompt disagree, so that learning one forgets the other; all kinds of tokens occur."""
    rng = random.Random(3)
    rows = [Row(f"r{i:02}", "the cat", " ".join(rng.choices(WORDS[7:], k=3))) for i in range(9)]
    replay = replayed_margins(model_folder, rows, epochs=6)

    values, _ = scorer.run(Score.FORGETTING, rows, epochs=6)

    seen = [
        ["".join("+" if margin > 0 else "-" for margin in token) for token in zip(*margins, strict=True)]
        for margins in zip(*replay, strict=True)
    ]
    kinds = {token.count("+-") if "+" in token else "never" for tokens in seen for token in tokens}
    assert {0, 1, "never"} <= kinds
    expected = [np.mean([token.count("+-") if "+" in token else 6 for token in tokens]) for tokens in seen]
    assert values.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("score", [Score.AUM, Score.FORGETTING])
def test_mislabelled_samples_are_the_hard_ones_after_a_few_epochs(scorer: Scorer, score: Score) -> None:
    """Of 33 animals, all of which do what is their habit, three say something at random."""
    rows, rng = pool(33), random.Random(0)
    wrong = {5, 16, 27}
    for number in wrong:
        rows[number] = Row(rows[number].id, rows[number].prompt, " ".join(rng.choices(WORDS[2:], k=4)))

    values, _ = scorer.run(score, rows, epochs=5)

    hardness = -values if score.hard_is_low else values
    assert set(np.argsort(-hardness, kind="stable")[:3].tolist()) == wrong


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"trainable": LoraParameters(rank=2, dropout=0.2)},
        {"trainable": FullParameters(top_layers=1)},
        {"precision": Precision.BFLOAT16},
    ],
    ids=["full", "lora", "top", "bf16"],
)
@pytest.mark.parametrize("score", [Score.AUM, Score.FORGETTING])
def test_same_request_gives_the_same_bytes(scorer: Scorer, score: Score, method: Mapping[str, object]) -> None:
    once, about = scorer.run(score, pool(), **method)
    again, about_again = scorer.run(score, pool(), **method)

    assert once.tobytes() == again.tobytes()
    assert about == about_again


def test_order_of_the_pool_does_not_matter(scorer: Scorer) -> None:
    rows = pool()
    shuffled = random.Random(1).sample(range(len(rows)), len(rows))

    sorted_values, about = scorer.run(Score.AUM, rows)
    values, about_shuffled = scorer.run(Score.AUM, [rows[place] for place in shuffled])

    assert values.tobytes() == sorted_values[shuffled].tobytes()
    assert about == about_shuffled


def test_parts_that_fit_in_less_memory_change_the_scores_by_rounding_only(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = scorer.run(Score.AUM, pool())
    monkeypatch.setattr(log_probs, "PART_TOKENS", 8)

    parts, _ = scorer.run(Score.AUM, pool())

    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_pool_of_one_sample_is_scored(scorer: Scorer) -> None:
    values, about = scorer.run(Score.AUM, pool(1), epochs=1)

    assert values.shape == (1,)
    assert about["optimizer_steps"] == 1


def test_prompt_tokens_count_where_the_method_learns_them(scorer: Scorer) -> None:
    """The first token of a prompt is predicted by nothing: "the cat" adds one to the four of its continuation."""
    _, without = scorer.run(Score.AUM, pool(1), epochs=1)
    _, with_prompt = scorer.run(Score.AUM, pool(1), epochs=1, prompt_in_loss=True)

    assert (without["learnt_tokens"], with_prompt["learnt_tokens"]) == (4, 5)


def test_what_was_run_is_told_and_every_token_read_is_on_the_bill(scorer: Scorer) -> None:
    """Three rows: "the cat" + 4, "a dog" + 4 and "on the mat the bird" + 1 tokens.

    The last token of each predicts nothing and is not read: 5 + 5 + 5 = 15 in each of two epochs, as often measured.
    """
    _, about = scorer.run(Score.AUM, pool(3), epochs=2)

    assert {name: about[name] for name in ("epochs", "samples", "optimizer_steps", "learning_rate", "truncated")} == {
        "epochs": 2,
        "samples": 3,
        "optimizer_steps": 2,
        "learning_rate": RATE,
        "truncated": 0,
    }
    assert (about["model"], about["seed"]) == (scorer.model_digest, SEED)
    assert (about["learnt_tokens"], about["trained_tokens"], about["measured_tokens"]) == (9, 30, 30)
    assert scorer.context.tokens == 60
    assert ("samples", "measuring") in {(unit, stage) for _, _, unit, stage in scorer.context.reports}


def test_samples_cut_at_the_longest_are_counted(scorer: Scorer) -> None:
    """Eight tokens hold "the mat the bird" and four of the five that follow."""
    rows = [*pool(2), Row("r9", "on the mat the bird", "sang in the rain and")]

    _, about = scorer.run(Score.AUM, rows, epochs=1, max_tokens=8)

    assert (about["max_tokens"], about["truncated"], about["learnt_tokens"]) == (8, 1, 4 + 4 + 4)


@pytest.mark.parametrize("crashes_after", [3, 5, 7])
@pytest.mark.parametrize("score", [Score.AUM, Score.FORGETTING])
def test_crashed_and_resumed_run_gives_the_bytes_of_the_undisturbed_one(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, score: Score, crashes_after: int
) -> None:
    """Three steps an epoch and a checkpoint after every second; so between, at and after the ends of epochs."""
    method = {"checkpoint_every_steps": 2}
    undisturbed, about = scorer.run(score, pool(), **method)
    step = scorer.step(score, **method)
    scorer.context.key = step_key(step)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="crash"):
        patched.setattr(scorer.context, "progress", crash_at(crashes_after))
        dynamics_scores(step, pool(), scorer.store, scorer.context)

    resumed, about_resumed = dynamics_scores(step, pool(), scorer.store, scorer.context)

    assert scorer.context.notes == ["resumed from checkpoint"]
    assert resumed.tobytes() == undisturbed.tobytes()
    assert about_resumed == about


def crash_at(step: int):
    def progress(done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if unit == "optimizer steps" and done == step:
            raise RuntimeError("crash")

    return progress


def test_checkpoints_of_the_run_are_refused_to_anything_else(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even under the same key, which no repair has."""
    step = scorer.step(Score.AUM, checkpoint_every_steps=2)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="crash"):
        patched.setattr(scorer.context, "progress", crash_at(3))
        dynamics_scores(step, pool(), scorer.store, scorer.context)

    repair = Checkpoints(scorer.store, scorer.context, scorer.model_digest, config_digest="of a repair")

    assert len(scorer.store.checkpoints(scorer.context.key)) == 1
    assert repair.newest() is None
    assert scorer.context.notes == ["checkpoint refused", "started over"]


def test_checkpoints_are_four_an_epoch_at_most(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 rows in batches of 4 are 10 steps an epoch: every second of 20 steps, but not the last, though all asked."""
    steps: list[int] = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, state: steps.append(state.step))

    scorer.run(Score.AUM, pool(40), epochs=2, checkpoint_every_steps=1)

    assert steps == list(range(2, 20, 2))


@pytest.mark.parametrize("stage", ["tokenising", "", "measuring"])
def test_cancelled_run_ends_where_it_is(scorer: Scorer, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Among the texts, among the optimizer steps, and within a measurement, which has parts of its own."""
    monkeypatch.setattr(log_probs, "PART_TOKENS", 8)
    reports: list[str] = []

    def cancelling(done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        reports.append(stage)
        scorer.context.cancelled = scorer.context.cancelled or (stage == wanted and done > 0)

    wanted = stage
    monkeypatch.setattr(scorer.context, "progress", cancelling)

    with pytest.raises(StepCancelled):
        dynamics_scores(scorer.step(Score.AUM), pool(), scorer.store, scorer.context)

    assert reports[-1] == stage
    assert reports.count(stage) <= 2


def test_loss_that_is_not_finite_ends_the_run(scorer: Scorer, tmp_path: Path, model_folder: Path) -> None:
    broken = LlamaForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    folder = tmp_path / "broken"
    broken.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((model_folder / name).read_bytes())
    diverging = Scorer(scorer.store, scorer.context, scorer.store.put_tree(folder).digest)

    with pytest.raises(LossNotFinite) as refused:
        diverging.run(Score.AUM, pool())

    assert refused.value.metadata["step"] == "1"


def test_logits_that_are_not_finite_after_the_last_step_are_noticed(context: Recorded) -> None:
    """No loss follows the last step, so the measurement must look itself."""
    model, samples = word_llama(), [TokenisedSample("r0", (2,), ((4, 7),))]
    measured = Measurements(model, samples, Score.AUM, RepairMethod(DpoMethod()), context)
    with torch.no_grad():
        model.lm_head.weight[3] = torch.inf

    with torch.no_grad(), pytest.raises(LossNotFinite) as refused:
        measured.after_epoch(9)

    assert refused.value.metadata["step"] == "9"


def test_rows_that_cannot_be_learnt_are_refused_by_id(scorer: Scorer) -> None:
    with pytest.raises(DatasetInvalid, match="r-empty") as refused:
        scorer.run(Score.AUM, [*pool(3), Row("r-empty", "the cat", "")])

    assert "cat" not in str(refused.value)


def test_empty_pool_is_refused(scorer: Scorer) -> None:
    with pytest.raises(PoolTooSmall):
        scorer.run(Score.AUM, [])


def test_margin_is_the_targets_logit_minus_the_largest_of_the_others() -> None:
    """3 - 2 for the first, 1 - 4 for the second, and a tie for the third."""
    logits = torch.tensor([[1.0, 3.0, 2.0], [4.0, 1.0, 0.0], [2.0, 2.0, -1.0]])

    assert margins_of(logits, torch.tensor([1, 1, 0])).tolist() == [1.0, -3.0, 0.0]
