"""What a cancelled repair leaves: the best model so far where there is one, and never a failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import StepCancelled, StorageFull
from llm_repair.core.execution import Json
from llm_repair.core.repair import DpoMethod, FullParameters, RepairMethod
from llm_repair.core.steps import RepairStep
from llm_repair.trainer import repair

WORDS = ["<end>", "<unk>", "you", "are", "so", "kind", "mean", "good", "bad"]
KEY = "k" * 64


@dataclass
class CancellingContext:
    """A step context that is cancelled once it reports so many optimizer steps."""

    workdir: Path
    at_step: int
    key: str = KEY
    threads: int = 1
    step: int = -1
    notes: list[tuple[str, dict[str, Json]]] = field(default_factory=list)

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if unit == "optimizer steps":
            self.step = int(done)

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append((phrase, fields))

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        pass

    def raise_if_cancelled(self) -> None:
        if self.step >= self.at_step:
            raise StepCancelled


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store")


Cancelled = Callable[..., list[tuple[str, dict[str, Json]]]]


@pytest.fixture
def cancelled(store: ArtifactStore, tmp_path: Path) -> Cancelled:
    """Runs a repair that is cancelled after so many steps, and returns what was noted."""

    def run(
        at_step: int, *, rate: float = 1e-2, dtype: torch.dtype = torch.float32
    ) -> list[tuple[str, dict[str, Json]]]:
        context = CancellingContext(tmp_path / f"attempt-{at_step}", at_step)
        context.workdir.mkdir()
        with pytest.raises(StepCancelled):
            repair.run(_step(store, tmp_path / "base", rate, dtype), store, context)
        return context.notes

    return run


def _step(store: ArtifactStore, folder: Path, rate: float, dtype: torch.dtype) -> RepairStep:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    rows = [Row(f"r{i:02}", "you are", ["kind", "good"][i % 2], ["bad", "mean"][i % 2]) for i in range(12)]
    return RepairStep(
        model_digest=store.put_tree(folder).digest,
        pool_digest=write_rows(store, rows).digest,
        selection_digest=store.put_bytes(json.dumps({"ids": [row.id for row in rows]}).encode()).digest,
        method=RepairMethod(DpoMethod(), FullParameters(), learning_rate=rate, epochs=3, batch_samples=4),
        seed=3,
    )


def test_the_best_model_so_far_is_left_and_loads(cancelled: Cancelled, store: ArtifactStore, tmp_path: Path) -> None:
    notes = cancelled(5)

    (left,) = store.partials(KEY).values()
    model = AutoModelForCausalLM.from_pretrained(store.materialize(left.digest)).state_dict()
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base").state_dict()
    assert [phrase for phrase, _ in notes] == ["left the best model so far"]
    assert any(not model[name].equal(base[name]) for name in base)
    assert store.get_result(KEY) is None


def test_the_newest_attempt_is_listed_last(cancelled: Cancelled, store: ArtifactStore) -> None:
    for at_step in (5, 2, 8):
        cancelled(at_step)

    assert list(store.partials(KEY)) == ["attempt-5", "attempt-2", "attempt-8"]


def test_a_repair_cancelled_before_its_first_step_leaves_nothing(cancelled: Cancelled, store: ArtifactStore) -> None:
    assert cancelled(0) == []
    assert store.partials(KEY) == {}


def test_a_model_that_is_still_the_base_is_not_left_and_no_error(cancelled: Cancelled, store: ArtifactStore) -> None:
    """In bf16 steps of 1e-12 round away."""
    notes = cancelled(2, rate=1e-12, dtype=torch.bfloat16)

    assert notes == [("left no model", {"step": 2, "reason": "ADAPTER_NOT_APPLIED"})]
    assert store.partials(KEY) == {}


def test_a_store_without_space_is_no_failure_of_the_repair(
    cancelled: Cancelled, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise StorageFull

    monkeypatch.setattr(ArtifactStore, "put_partial", full)

    notes = cancelled(2)

    assert notes == [("left no model", {"step": 2, "reason": "STORAGE_FULL"})]
    assert store.checkpoints(KEY)


def test_memory_that_does_not_suffice_for_saving_is_no_failure_of_the_repair(
    cancelled: Cancelled, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(repair, "weight_change", refusing)

    notes = cancelled(2)

    assert notes == [("left no model", {"step": 2, "reason": "OUT_OF_MEMORY"})]
    assert store.partials(KEY) == {}
