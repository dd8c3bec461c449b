"""The step as it runs in a worker, from artifacts to artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradient_models import expected_norm, made
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GemmaConfig, GemmaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.scores import read_scores
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import (
    DatasetInvalid,
    FeaturesInvalid,
    InvalidFields,
    PoolTooSmall,
    StepCancelled,
)
from llm_repair.core.execution import StepOutput
from llm_repair.core.repair import (
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    FullParameters,
    KtoMethod,
    LoraParameters,
    Precision,
    RepairMethod,
)
from llm_repair.core.selection import Score
from llm_repair.core.steps import ScoreStep
from llm_repair.models.gradients import norms
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.selection import score
from llm_repair.selection.scoring.model_scores import model_scores
from llm_repair.selection.shards import LocalShards

WORDS = 40
DAPT = RepairMethod(DaptMethod(), trainable=FullParameters())
DPO = RepairMethod(DpoMethod(), trainable=FullParameters())
MODEL_SCORES = [(Score.GRAND, DAPT), (Score.GRAND, DPO), (Score.EL2N, DAPT), (Score.LOSS, DAPT)]


def text(*ids: int) -> str:
    return " ".join(f"w{number}" for number in ids)


def pool(count: int = 12, *, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)

    def words(low: int, high: int) -> str:
        return text(*rng.integers(WORDS, size=rng.integers(low, high)))

    return [Row(f"row-{i:02}", prompt=words(1, 9), chosen=words(1, 12), rejected=words(1, 15)) for i in range(count)]


def put_model(store: ArtifactStore, model: PreTrainedModel, folder: Path) -> str:
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
    return store.put_tree(folder).digest


@pytest.fixture
def model(store: ArtifactStore, tmp_path: Path) -> str:
    """Digest of a tied GPT-2 with a context of 64 tokens."""
    return put_model(store, made("gpt2"), tmp_path / "model")


@pytest.fixture
def run(store: ArtifactStore, context: Any, tmp_path: Path) -> Callable[[ScoreStep], StepOutput]:
    """Runs a step, each time in an empty folder."""
    folders = iter(range(99))

    def fresh(step: ScoreStep) -> StepOutput:
        context.workdir = tmp_path / f"attempt-{next(folders)}"
        context.workdir.mkdir()
        return score.run(step, store, context)

    return fresh


Run = Callable[[ScoreStep], StepOutput]


def step_for(
    store: ArtifactStore, rows: list[Row], model: str, kind: Score = Score.GRAND, method: RepairMethod = DAPT
) -> ScoreStep:
    return ScoreStep(write_rows(store, rows).digest, kind, method, seed=0, model_digest=model)


def values_of(store: ArtifactStore, step: ScoreStep, output: StepOutput, rows: list[Row]) -> np.ndarray:
    ids = [row.id for row in rows]
    digest = output.outputs["scores"].digest
    return np.array(read_scores(store, digest, ids, pool_digest=step.pool_digest, score=step.score).values)


def about_of(store: ArtifactStore, output: StepOutput) -> dict[str, Any]:
    return json.loads((store.materialize(output.outputs["scores"].digest) / "about.json").read_text())


def ids_of(words: str) -> tuple[int, ...]:
    return tuple(int(word[1:]) for word in words.split())


@pytest.mark.parametrize(
    "method",
    [DAPT, DPO, replace(DAPT, prompt_in_loss=True), replace(DPO, objective=ExmateMethod())],
    ids=["dapt", "dpo", "prompt", "exmate"],
)
def test_grand_is_the_norm_of_each_rows_own_gradient(
    store: ArtifactStore, run: Run, model: str, method: RepairMethod
) -> None:
    rows = pool()
    step = step_for(store, rows, model, method=method)

    output = run(step)

    target = make_trainable(made("gpt2"), FullParameters(), seed=0)
    sides = 1 if isinstance(method.objective, DaptMethod) else 2
    expected = [
        expected_norm(
            target,
            TokenisedSample(row.id, ids_of(row.prompt), tuple(map(ids_of, (row.chosen, row.rejected)[:sides]))),
            method,
        )
        for row in rows
    ]
    np.testing.assert_allclose(values_of(store, step, output, rows), expected, rtol=1e-5)
    about = about_of(store, output)
    assert (about["path"], about["path_reason"], about["objective"]) == ("ghost", "", type(method.objective).__name__)


def test_grand_of_unpaired_rows_is_the_norm_of_the_gradient_of_the_sides_there_are(
    store: ArtifactStore, run: Run, model: str
) -> None:
    first, second, *others = pool()
    rows = [replace(first, rejected=""), replace(second, chosen=""), *others]
    step = step_for(store, rows, model, method=replace(DPO, objective=KtoMethod(undesirable_weight=1.5)))

    output = run(step)

    target = make_trainable(made("gpt2"), FullParameters(), seed=0)
    expected = [
        expected_norm(
            target,
            TokenisedSample(
                row.id,
                ids_of(row.prompt),
                tuple(ids_of(side) for side in (row.chosen, row.rejected) if side),
                desirable=bool(row.chosen),
            ),
            step.method,
        )
        for row in rows
    ]
    np.testing.assert_allclose(values_of(store, step, output, rows), expected, rtol=1e-5)
    assert about_of(store, output)["path"] == "ghost"


@pytest.mark.parametrize("with_prompt", [False, True])
def test_loss_and_el2n_are_means_over_the_learnt_tokens_of_the_chosen_side(
    store: ArtifactStore, run: Run, model: str, with_prompt: bool
) -> None:
    """Also under DPO, whose own loss at its reference is ln 2 for every pair."""
    rows = pool()
    method = replace(DPO, prompt_in_loss=with_prompt)
    losses, errors = [], []
    network = made("gpt2")
    for row in rows:
        prompt, chosen = ids_of(row.prompt), ids_of(row.chosen)
        ids = torch.tensor([[*prompt, *chosen]])
        first = 0 if with_prompt else len(prompt) - 1
        with torch.no_grad():
            shares = network(ids).logits[0, first:-1].double().softmax(dim=-1)
        targets = ids[0, first + 1 :]
        losses.append(float(-shares[range(len(targets)), targets].log().mean()))
        shares[range(len(targets)), targets] -= 1
        errors.append(float(shares.norm(dim=-1).mean()))

    for kind, expected in ((Score.LOSS, losses), (Score.EL2N, errors)):
        step = step_for(store, rows, model, kind, method)
        np.testing.assert_allclose(values_of(store, step, run(step), rows), expected, rtol=1e-5)


@pytest.mark.parametrize(("kind", "method"), MODEL_SCORES)
def test_shards_give_the_same_bytes(
    store: ArtifactStore, context: Any, model: str, kind: Score, method: RepairMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 30 tokens, so that there are more than seven."""
    monkeypatch.setattr(norms, "BATCH_TOKENS", 30)
    monkeypatch.setattr("llm_repair.models.training.log_probs.PART_TOKENS", 30)
    rows = pool(30)
    step = step_for(store, rows, model, kind, method)

    made_by = [model_scores(step, rows, store, context, LocalShards(count)) for count in (1, 2, 7)]

    assert len({values.tobytes() for values, _ in made_by}) == 1
    assert made_by[0][1] == made_by[1][1] == made_by[2][1]


@pytest.mark.parametrize(("kind", "method"), MODEL_SCORES)
def test_a_row_does_not_depend_on_the_rows_beside_it(
    store: ArtifactStore, run: Run, model: str, kind: Score, method: RepairMethod
) -> None:
    rows = pool(9)
    whole = step_for(store, rows, model, kind, method)
    alone = step_for(store, rows[4:5], model, kind, method)

    among, single = values_of(store, whole, run(whole), rows)[4], values_of(store, alone, run(alone), rows[4:5])[0]

    assert single == pytest.approx(among, rel=1e-5)


def test_equal_texts_are_scored_once_and_equally(store: ArtifactStore, run: Run, model: str) -> None:
    rows = pool(5)
    rows += [replace(row, id=f"again-{row.id}") for row in rows]
    rows.sort(key=lambda row: row.id)
    step = step_for(store, rows, model)

    output = run(step)

    by_id = dict(zip([row.id for row in rows], values_of(store, step, output, rows), strict=True))
    assert all(value == by_id[f"again-{name}"] for name, value in by_id.items() if not name.startswith("again"))
    assert (output.summary["pool"], output.summary["distinct"]) == (10, 5)


def test_a_repeated_step_is_equal_to_the_byte_and_tells_its_time_in_the_summary_only(
    store: ArtifactStore, run: Run, model: str
) -> None:
    step = step_for(store, pool(), model)

    one, other = run(step), run(step)

    assert one.outputs == other.outputs
    assert one.summary["seconds"] > 0
    assert one.summary["tokens"] == sum(len((row.prompt + " " + row.chosen).split()) for row in pool())
    about = about_of(store, one)
    assert {"pool", "model", "score", "method", "path", "truncated", "max_tokens"} <= set(about)
    assert "seconds" not in json.dumps(about)


def test_long_samples_lose_their_end_and_are_counted(store: ArtifactStore, run: Run, model: str) -> None:
    """The context has 64 tokens, the method allows 256; one row has 80, its first 64 count."""
    rows = [
        Row("cut", prompt=text(1, 2, 3, 4), chosen=text(*range(40), *range(24))),
        Row("whole", prompt=text(1, 2, 3, 4), chosen=text(*range(40), *range(20))),
    ]
    step = step_for(store, rows, model)

    output = run(step)

    cut, whole = values_of(store, step, output, rows)
    assert cut == whole
    assert (output.summary["truncated"], about_of(store, output)["max_tokens"]) == (1, 64)


def test_adapters_start_from_the_seed_of_the_step(store: ArtifactStore, run: Run, model: str) -> None:
    rows = pool(4)
    method = replace(DAPT, trainable=LoraParameters(rank=2))
    step = step_for(store, rows, model, method=method)

    one, other = (values_of(store, each, run(each), rows) for each in (step, replace(step, seed=1)))

    assert (one > 0).all()
    assert not np.allclose(one, other)


@pytest.mark.parametrize("kind", [Score.GRAND, Score.EL2N, Score.LOSS])
def test_half_precision_is_used_where_the_method_asks(store: ArtifactStore, run: Run, model: str, kind: Score) -> None:
    rows = pool()
    exact = step_for(store, rows, model, kind)
    half = replace(exact, method=replace(DAPT, precision=Precision.BFLOAT16))

    one, other = (values_of(store, step, run(step), rows) for step in (exact, half))

    assert not np.array_equal(one, other)
    np.testing.assert_allclose(other, one, rtol=0.05)


def test_an_architecture_without_rules_is_scored_by_the_loop_and_says_so(
    store: ArtifactStore, run: Run, context: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = GemmaConfig(vocab_size=WORDS, num_key_value_heads=1, head_dim=8, pad_token_id=None, **sizes)
    digest = put_model(store, GemmaForCausalLM(config), tmp_path / "gemma")
    rows = pool(3)
    step = step_for(store, rows, digest)

    output = run(step)

    assert output.summary["path"] == about_of(store, output)["path"] == "loop"
    assert "GemmaTextScaledWordEmbedding" in str(output.summary["path_reason"])
    assert context.notes == ["gradients by one backward pass a sample"]
    assert (values_of(store, step, output, rows) > 0).all()


def test_progress_and_tokens_are_reported(store: ArtifactStore, run: Run, context: Any, model: str) -> None:
    output = run(step_for(store, pool(), model))

    assert context.tokens == output.summary["tokens"]
    assert context.reports[-1] == (12, 12, "samples", "")


def test_a_cancelled_step_stops(store: ArtifactStore, run: Run, context: Any, model: str) -> None:
    context.cancelled = True

    with pytest.raises(StepCancelled):
        run(step_for(store, pool(), model))


def test_rows_without_a_rejected_side_are_named_where_pairs_are_compared(
    store: ArtifactStore, run: Run, model: str
) -> None:
    rows = pool(4)
    rows[1], rows[3] = replace(rows[1], rejected=""), replace(rows[3], rejected="")

    with pytest.raises(DatasetInvalid, match="rejected") as refused:
        run(step_for(store, rows, model, method=DPO))
    assert refused.value.metadata == {"count": "2", "ids": "row-01,row-03"}
    assert run(step_for(store, rows, model)).summary["pool"] == 4


def test_rows_without_a_chosen_side_are_named(store: ArtifactStore, run: Run, model: str) -> None:
    rows = [*pool(2), Row("row-99", prompt="w1", rejected="w2")]

    with pytest.raises(DatasetInvalid, match="chosen") as refused:
        run(step_for(store, rows, model, Score.LOSS))
    assert refused.value.metadata["ids"] == "row-99"


def test_prompts_that_fill_the_context_lose_their_beginning_and_are_counted(
    store: ArtifactStore, run: Run, model: str
) -> None:
    rows = [*pool(2), Row("row-99", prompt=text(*range(40), *range(24)), chosen="w2")]

    assert run(step_for(store, rows, model)).summary["truncated"] == 1


def test_an_empty_pool_is_refused(store: ArtifactStore, run: Run, model: str) -> None:
    with pytest.raises(PoolTooSmall):
        run(step_for(store, [], model))


@pytest.mark.parametrize(("kind", "method"), MODEL_SCORES)
def test_a_score_that_is_not_finite_is_refused_with_its_row(
    store: ArtifactStore, run: Run, tmp_path: Path, kind: Score, method: RepairMethod
) -> None:
    """The embedding of one word is not a number, and only the third row has that word."""
    network = made("gpt2", tied=False)
    with torch.no_grad():
        network.get_input_embeddings().weight[39] = torch.nan
    digest = put_model(store, network, tmp_path / "broken")
    rows = [Row(f"row-{i}", prompt="w39" if i == 2 else "w1", chosen="w2 w3", rejected="w4") for i in range(4)]

    with pytest.raises(FeaturesInvalid) as refused:
        run(step_for(store, rows, digest, kind, method))
    assert refused.value.metadata == {"row": "2", "id": "row-2"}


@pytest.mark.parametrize("kind", [Score.TOXICITY, Score.FAILURE_RATE])
def test_scores_that_a_judge_makes_are_refused_by_field(store: ArtifactStore, run: Run, kind: Score) -> None:
    with pytest.raises(InvalidFields) as refused:
        run(step_for(store, pool(), "sha256:" + "0" * 64, kind))
    assert [violation.field for violation in refused.value.violations] == ["score"]


@pytest.mark.parametrize("kind", [Score.GRAND, Score.EL2N, Score.LOSS, Score.AUM, Score.FORGETTING])
def test_scores_read_off_a_model_need_one(store: ArtifactStore, run: Run, kind: Score) -> None:
    with pytest.raises(InvalidFields) as refused:
        run(step_for(store, pool(), "", kind))
    assert [violation.field for violation in refused.value.violations] == ["model_digest"]


@pytest.mark.parametrize("kind", [Score.AUM, Score.FORGETTING])
def test_scores_of_training_dynamics_come_from_a_short_run(
    store: ArtifactStore, run: Run, model: str, kind: Score
) -> None:
    rows = pool(6)
    step = step_for(store, rows, model, kind, replace(DAPT, epochs=2, validation_share=0.0))

    output = run(step)

    assert np.isfinite(values_of(store, step, output, rows)).all()
    assert (output.summary["epochs"], output.summary["score"]) == (2, kind.name)


def test_instance_hardness_comes_from_embeddings_without_a_model(
    store: ArtifactStore, run: Run, tmp_path: Path
) -> None:
    rows = pool(8)
    pool_digest = write_rows(store, rows).digest
    sides: dict[str, str] = {}
    for number, view in enumerate(("CHOSEN", "REJECTED")):
        folder = tmp_path / view
        folder.mkdir()
        np.save(folder / "embeddings.npy", np.random.default_rng(number).normal(size=(8, 3)).astype(np.float32))
        about = {"pool": pool_digest, "text_view": view, "encoder": "e", "truncated": 0, "blank": 0}
        (folder / "about.json").write_text(json.dumps(about))
        sides[view] = store.put_tree(folder).digest
    step = ScoreStep(
        pool_digest,
        Score.INSTANCE_HARDNESS,
        DAPT,
        seed=0,
        chosen_embeddings_digest=sides["CHOSEN"],
        rejected_embeddings_digest=sides["REJECTED"],
    )

    values = values_of(store, step, run(step), rows)

    assert ((values >= 0) & (values <= 1)).all()
