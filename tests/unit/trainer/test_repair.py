"""The repair step end to end on models made here: outputs, refusals, cancellation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import (
    AdapterNotApplied,
    DatasetInvalid,
    LossNotFinite,
    ModelInvalid,
    PoolTooSmall,
    StepCancelled,
)
from llm_repair.core.execution import Json, StepOutput
from llm_repair.core.repair import (
    DaptMethod,
    DpoMethod,
    FullParameters,
    LoraParameters,
    Precision,
    RepairMethod,
)
from llm_repair.core.steps import RepairStep
from llm_repair.models.training import log_probs
from llm_repair.models.training.batches import hold_out
from llm_repair.trainer import repair

WORDS = [
    "<end>",
    "<unk>",
    "you",
    "are",
    "so",
    "very",
    "kind",
    "mean",
    "good",
    "bad",
    "and",
    "thanks",
    "never",
    "always",
]


@dataclass
class RecordingContext:
    """A step context that remembers what it was told; cancels at the n-th progress report if asked to."""

    workdir: Path
    key: str = "k" * 64
    threads: int = 1
    cancel_at_step: int | None = None
    notes: list[tuple[str, dict[str, Json]]] = field(default_factory=list)
    progresses: list[tuple[float, float, str, str]] = field(default_factory=list)
    tokens: int = 0

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        self.progresses.append((done, total, unit, stage))

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append((phrase, fields))

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        self.tokens += tokens

    def raise_if_cancelled(self) -> None:
        steps = [done for done, _, unit, _ in self.progresses if unit == "optimizer steps"]
        if self.cancel_at_step is not None and steps and steps[-1] >= self.cancel_at_step:
            raise StepCancelled()


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(folder)


def llama(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).to(dtype)


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=None, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def put_model(store: ArtifactStore, model: LlamaForCausalLM | GPT2LMHeadModel, folder: Path) -> str:
    model.save_pretrained(folder)
    save_tokenizer(folder)
    (folder / "README.md").write_text("the base model's own card")
    return store.put_tree(folder).digest


def pairs(count: int = 12) -> list[Row]:
    prompts = ["you are", "you are so", "you", "and you are"]
    good, bad = ["very kind", "good and kind thanks", "kind"], ["bad", "mean and bad", "very mean never good"]
    return [Row(f"r{i:02}", prompts[i % 4], good[i % 3], bad[(i + 1) % 3]) for i in range(count)]


Run = Callable[..., tuple[StepOutput, RecordingContext, ArtifactStore]]


@pytest.fixture
def run_repair(tmp_path: Path) -> Run:
    """Runs a repair of a small model on some rows; everything can be changed by keyword."""
    attempts = iter(range(100))

    def run(
        method: RepairMethod,
        *,
        model: LlamaForCausalLM | GPT2LMHeadModel | None = None,
        rows: list[Row] | None = None,
        ids: list[str] | None = None,
        seed: int = 1,
        cancel_at_step: int | None = None,
    ) -> tuple[StepOutput, RecordingContext, ArtifactStore]:
        attempt = tmp_path / f"attempt-{next(attempts)}"
        attempt.mkdir()
        store = ArtifactStore(f"file://{tmp_path}/store")
        chosen = pairs() if rows is None else rows
        selection = {"ids": [row.id for row in chosen] if ids is None else ids}
        step = RepairStep(
            model_digest=put_model(store, model or llama(), tmp_path / f"base-{attempt.name}"),
            pool_digest=write_rows(store, chosen).digest,
            selection_digest=store.put_bytes(json.dumps(selection).encode()).digest,
            method=method,
            seed=seed,
        )
        context = RecordingContext(attempt, cancel_at_step=cancel_at_step)
        return repair.run(step, store, context), context, store

    return run


DPO = RepairMethod(DpoMethod(), FullParameters(), learning_rate=1e-2, epochs=3, batch_samples=4)


def weights(store: ArtifactStore, output: StepOutput) -> Mapping[str, bytes]:
    entries = store.entries(output.outputs["model"].digest)
    return {name: store.get_bytes(blob.digest) for name, blob in entries.items() if name.endswith(".safetensors")}


def test_dpo_lowers_its_loss_and_ranks_the_pairs_right(run_repair: Run) -> None:
    """The first loss is ln 2, because policy and reference are equal before the first step."""
    output, _, store = run_repair(DPO)

    curve = json.loads(store.get_bytes(output.outputs["curve"].digest))
    assert curve["curve"][0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert output.summary["last_loss"] < 0.5  # type: ignore[operator]
    assert curve["curve"][-1]["measures"]["reward_accuracy"] == 1.0


def test_summary_accounts_for_steps_samples_and_weights(run_repair: Run) -> None:
    """12 samples, 10 % held out: round half up of 1.2 is 1, so 11 train; 3 batches of 4, 3 epochs, 9 steps."""
    output, context, _ = run_repair(DPO)

    assert output.summary["samples"] == 11
    assert output.summary["validation_samples"] == 1
    assert output.summary["optimizer_steps"] == output.summary["planned_optimizer_steps"] == 9
    assert output.summary["changed_tensors"] == output.summary["tensors"]
    assert context.progresses[-2][:3] == (9, 9, "optimizer steps")


def test_output_is_the_base_folder_with_other_weights(run_repair: Run, tmp_path: Path) -> None:
    output, _, store = run_repair(DPO)

    made = {name: blob.digest for name, blob in store.entries(output.outputs["model"].digest).items()}
    base = tmp_path / "base-attempt-0"
    kept = {path.name: store.put_file(path).digest for path in base.iterdir() if path.name != "README.md"}
    assert made.keys() == kept.keys() | {"repair.json"}
    assert [name for name in kept if made[name] != kept[name]] == ["model.safetensors"]


@pytest.mark.parametrize("trainable", [FullParameters(), FullParameters(top_layers=1), LoraParameters(rank=2)])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_output_loads_in_transformers_and_ranks_chosen_higher(
    run_repair: Run, make: Callable[[], LlamaForCausalLM], trainable: FullParameters | LoraParameters
) -> None:
    method = RepairMethod(DpoMethod(), trainable, learning_rate=1e-2, epochs=4, batch_samples=4)
    output, _, store = run_repair(method, model=make())

    folder = store.materialize(output.outputs["model"].digest)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("you are so", return_tensors="pt")["input_ids"]
    following = model(prompt).logits[0, -1].log_softmax(-1)
    before = make()(prompt).logits[0, -1].log_softmax(-1)
    kind, mean = WORDS.index("kind"), WORDS.index("mean")
    assert following[kind] - following[mean] > before[kind] - before[mean]


def test_only_the_top_layer_changes_when_only_it_is_trained(run_repair: Run) -> None:
    """A Llama layer has 9 tensors: q, k, v, o, gate, up, down and two norms."""
    method = RepairMethod(DpoMethod(), FullParameters(top_layers=1), learning_rate=1e-2, batch_samples=4)
    output, _, store = run_repair(method)

    after = AutoModelForCausalLM.from_pretrained(store.materialize(output.outputs["model"].digest)).state_dict()
    changed = {name for name, value in llama().state_dict().items() if not torch.equal(value, after[name])}
    assert output.summary["changed_tensors"] == 9
    assert {name.split(".layers.")[1][0] for name in changed} == {"2"}


def test_lora_leaves_its_adapter_too_and_merges_to_the_same_logits(run_repair: Run, tmp_path: Path) -> None:
    from peft import PeftModel

    method = RepairMethod(DpoMethod(), LoraParameters(rank=2), learning_rate=1e-2, batch_samples=4)
    output, _, store = run_repair(method)

    merged = AutoModelForCausalLM.from_pretrained(store.materialize(output.outputs["model"].digest))
    adapted = PeftModel.from_pretrained(llama().eval(), str(store.materialize(output.outputs["adapter"].digest)))
    prompt = torch.tensor([[2, 3, 4]])
    torch.testing.assert_close(merged(prompt).logits, adapted(prompt).logits, atol=1e-5, rtol=1e-5)
    config = json.loads(store.get_bytes(store.entries(output.outputs["adapter"].digest)["adapter_config.json"].digest))
    assert str(tmp_path) not in json.dumps(config)


def test_saved_weights_are_the_trained_ones_in_the_number_format_of_the_base(run_repair: Run) -> None:
    output, _, store = run_repair(DPO, model=llama(torch.bfloat16))

    model = AutoModelForCausalLM.from_pretrained(store.materialize(output.outputs["model"].digest), dtype="auto")
    assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16}


def test_order_of_the_selection_does_not_matter(run_repair: Run) -> None:
    ids = [row.id for row in pairs()]

    forward, _, store = run_repair(DPO, ids=ids)
    backward, _, _ = run_repair(DPO, ids=ids[::-1])

    assert weights(store, forward) == weights(store, backward)


def test_repeat_is_equal_to_the_bit_and_another_seed_is_not(run_repair: Run) -> None:
    first, _, store = run_repair(DPO)
    again, _, _ = run_repair(DPO)
    other, _, _ = run_repair(DPO, seed=2)

    assert first.summary["weights_digest"] == again.summary["weights_digest"]
    assert first.summary["weights_digest"] != other.summary["weights_digest"]
    assert weights(store, first) == weights(store, again)


def test_dapt_needs_no_rejected_continuation(run_repair: Run) -> None:
    rows = [Row(row.id, row.prompt, row.chosen) for row in pairs()]

    output, _, _ = run_repair(RepairMethod(DaptMethod(), learning_rate=1e-2, epochs=3, batch_samples=4), rows=rows)

    assert output.summary["last_loss"] < output.summary["first_loss"]  # type: ignore[operator]


def test_dpo_without_rejected_continuations_names_how_many_and_which(run_repair: Run) -> None:
    rows = [*pairs(4), Row("x1", "you are", "kind"), Row("x2", "you are", "kind")]

    with pytest.raises(DatasetInvalid) as error:
        run_repair(DPO, rows=rows)

    assert error.value.metadata == {"count": "2", "ids": "x1,x2"}
    assert "kind" not in error.value.message


def test_selected_id_outside_the_pool_is_refused(run_repair: Run) -> None:
    with pytest.raises(DatasetInvalid, match="nowhere"):
        run_repair(DPO, ids=["r00", "nowhere"])


def test_empty_selection_is_refused(run_repair: Run) -> None:
    with pytest.raises(PoolTooSmall):
        run_repair(DPO, ids=[])


def test_continuation_without_a_token_is_refused_by_id(run_repair: Run) -> None:
    with pytest.raises(DatasetInvalid, match="blank"):
        run_repair(DPO, rows=[*pairs(4), Row("blank", "you are", "   ", "bad")])


def test_what_is_longer_than_the_context_is_cut_and_counted(run_repair: Run) -> None:
    """The model's context is 32 tokens, shorter than max_tokens; a word is a token."""
    long = [Row("prompt", "you " * 32, "kind", "bad"), Row("end", "you", "kind " * 40, "bad")]

    output, _, _ = run_repair(DPO, rows=[*pairs(4), *long])

    assert output.summary["truncated"] == 2


def test_tokenizer_with_more_tokens_than_the_model_is_refused(run_repair: Run) -> None:
    """The model knows the ids 0 to 9, "and" is 10."""
    model = llama()
    model.resize_token_embeddings(10)

    with pytest.raises(ModelInvalid) as refused:
        run_repair(DPO, model=model, rows=[Row("one", "you and you", "kind", "mean"), Row("two", "you", "good", "bad")])

    assert refused.value.metadata == {"token": "10", "vocabulary": "10"}


def test_long_continuations_lose_their_end_and_are_counted(run_repair: Run) -> None:
    output, _, _ = run_repair(DPO, rows=[*pairs(8), Row("long", "you", "kind " * 40, "bad"), *pairs(12)[8:]])

    assert output.summary["truncated"] == 1


def test_infinite_loss_fails_with_its_step(run_repair: Run) -> None:
    model = llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))

    with pytest.raises(LossNotFinite) as error:
        run_repair(RepairMethod(DaptMethod(), batch_samples=4), model=model)

    assert error.value.metadata["step"] == "1"


def test_weights_that_the_format_of_the_base_cannot_hold_are_not_published(run_repair: Run) -> None:
    """One step of rate 1 with a decay of a million makes a weight of 0.3 one of 300,000, beyond the 65,504 of fp16."""
    method = RepairMethod(
        DaptMethod(),
        FullParameters(),
        learning_rate=1.0,
        weight_decay=1e6,
        epochs=1,
        batch_samples=16,
        validation_share=0.0,
    )

    with pytest.raises(LossNotFinite, match="float16") as refused:
        run_repair(method, model=llama(torch.float16))

    assert refused.value.metadata == {"step": "1"}


def test_repair_without_effect_is_an_error(run_repair: Run) -> None:
    """In bf16 a step of 1e-12 rounds away."""
    with pytest.raises(AdapterNotApplied):
        run_repair(RepairMethod(DaptMethod(), learning_rate=1e-12, epochs=1), model=llama(torch.bfloat16))


def test_cancelled_repair_leaves_the_best_model_so_far(run_repair: Run, tmp_path: Path) -> None:
    with pytest.raises(StepCancelled):
        run_repair(DPO, cancel_at_step=4)

    partials = list((tmp_path / "store").rglob("partials/**/attempt-0*"))
    assert partials


def validation_curve(store: ArtifactStore, output: StepOutput) -> dict[int, float]:
    curve = json.loads(store.get_bytes(output.outputs["curve"].digest))
    return {point["step"]: point["loss"] for point in curve["validations"]}


OVERFITTING = RepairMethod(
    DpoMethod(), learning_rate=1e-2, epochs=4, batch_samples=4, validation_share=0.3, validations=8
)


def contradictory_pairs() -> list[Row]:
    """Pairs of which the held-out ones prefer what the others reject, so that the validation loss only rises."""
    held_out = hold_out([row.id for row in pairs()], share=0.3)
    return [replace(r, chosen=r.rejected, rejected=r.chosen) if r.id in held_out else r for r in pairs()]


def test_weights_of_the_best_validation_are_kept(run_repair: Run, tmp_path: Path) -> None:
    """The validation loss of the saved model, computed anew the plain way against the base, is the best one seen."""
    output, _, store = run_repair(OVERFITTING, rows=contradictory_pairs())

    seen = validation_curve(store, output)
    best = min(seen, key=lambda step: seen[step])
    assert best != max(seen)
    assert output.summary["kept_step"] == best

    folder = store.materialize(output.outputs["model"].digest)
    policy, base = AutoModelForCausalLM.from_pretrained(folder).eval(), llama().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def log_prob(model: torch.nn.Module, prompt: str, continuation: str) -> float:
        given, wanted = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (prompt, continuation))
        scores = model(torch.cat([given, wanted], dim=1)).logits.log_softmax(-1)[0, given.shape[1] - 1 : -1]
        return scores.gather(1, wanted[0, :, None]).sum().item()

    held_out = hold_out([row.id for row in pairs()], share=0.3)
    rows = [row for row in contradictory_pairs() if row.id in held_out]
    margins = [
        0.1 * sum(sign * (log_prob(policy, r.prompt, t) - log_prob(base, r.prompt, t)) for sign, t in signed)
        for r in rows
        for signed in [((1, r.chosen), (-1, r.rejected))]
    ]
    expected = sum(math.log1p(math.exp(-margin)) for margin in margins) / len(margins)
    assert seen[best] == pytest.approx(expected, abs=1e-4)


def test_patience_ends_training_early(run_repair: Run) -> None:
    output, _, store = run_repair(replace(OVERFITTING, patience=2), rows=contradictory_pairs())

    seen = list(validation_curve(store, output).values())
    assert output.summary["optimizer_steps"] < output.summary["planned_optimizer_steps"]  # type: ignore[operator]
    assert len(seen) - 1 - seen.index(min(seen)) == 2


def test_batches_cut_to_fit_in_memory_give_the_same_losses(run_repair: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    method = RepairMethod(DaptMethod(), learning_rate=1e-2, epochs=2, batch_samples=6)
    whole, _, store = run_repair(method)
    monkeypatch.setattr(log_probs, "PART_TOKENS", 8)
    cut, _, _ = run_repair(method)

    losses = [
        [point["loss"] for point in json.loads(store.get_bytes(output.outputs["curve"].digest))["curve"]]
        for output in (whole, cut)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_bf16_stays_near_fp32(run_repair: Run) -> None:
    """bf16 has 8 bits of mantissa; over some steps the losses agree to a few hundredths."""
    method = {"learning_rate": 1e-2, "epochs": 2, "batch_samples": 4}
    full, _, _ = run_repair(RepairMethod(DpoMethod(), **method))
    half, _, _ = run_repair(RepairMethod(DpoMethod(), precision=Precision.BFLOAT16, **method))

    assert half.summary["last_loss"] == pytest.approx(full.summary["last_loss"], abs=0.05)
    assert half.summary["weights_digest"] != full.summary["weights_digest"]


def test_without_validation_the_last_weights_are_kept(run_repair: Run) -> None:
    method = RepairMethod(DpoMethod(), learning_rate=1e-2, epochs=2, batch_samples=4, validation_share=0.0)

    output, _, _ = run_repair(method)

    assert output.summary["best_validation_loss"] is None
    assert output.summary["kept_step"] == output.summary["planned_optimizer_steps"] == 6
