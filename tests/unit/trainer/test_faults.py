"""What ends a repair, and what it leaves: a reason with the step, and nothing half-published."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from training_oracle import QuietContext
from training_runs import pairs, prepared, repaired

from llm_repair.core.errors import GradientExploded, ModelInvalid, OutOfMemory, StorageFull
from llm_repair.core.presets import resolved_method
from llm_repair.core.repair import DpoMethod, FullParameters, RepairMethod, RepairPreset
from llm_repair.core.steps import step_key
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.faults import full_disk_named, is_out_of_memory
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.trainer import repair

COMMON = {"learning_rate": 1e-2, "epochs": 2, "batch_samples": 4}


def nothing_was_published(folder: Path) -> bool:
    """Says whether the store holds neither result nor partial."""
    kept = [path for path in (folder / "store").rglob("*") if path.is_file()]
    return not any("results" in path.parts or "partials" in path.parts for path in kept)


def test_gradient_that_explodes_for_some_steps_in_a_row_ends_the_training(tmp_path: Path) -> None:
    """Every norm is above 1.5 times a clipping norm of a billionth; the third in a row is at step 3."""
    method = RepairMethod(
        DpoMethod(), FullParameters(), clip_norm=1e-9, explosion_ratio=1.5, explosion_steps=3, **COMMON
    )

    with pytest.raises(GradientExploded) as refused:
        repaired(tmp_path / "run", method, pairs())

    assert refused.value.metadata == {"step": "3", "steps": "3", "bound": "1.5e-09"}
    assert nothing_was_published(tmp_path / "run")


def test_large_gradients_that_are_not_in_a_row_are_clipped_and_training_goes_on(tmp_path: Path) -> None:
    """Six steps, seven in a row asked for."""
    method = RepairMethod(
        DpoMethod(), FullParameters(), clip_norm=1e-9, explosion_ratio=1.5, explosion_steps=7, **COMMON
    )

    found = repaired(tmp_path / "run", method, pairs())

    assert found.summary["optimizer_steps"] == 6


def run_out(monkeypatch: pytest.MonkeyPatch, error: Exception, *, most_samples: int) -> None:
    answer = LogProbs.logits

    def refusing(self: LogProbs, samples: Sequence[TokenisedSample], **weights: Any) -> Any:
        if len(samples) > most_samples:
            raise error
        return answer(self, samples, **weights)

    monkeypatch.setattr(LogProbs, "logits", refusing)


NO_MEMORY = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_suffices_for_half_the_micro_batch_suffices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """11 samples at once in the reference pass, 4 in a step; so 5 at most are enough after one halving."""
    method = RepairMethod(DpoMethod(), FullParameters(), **COMMON)
    plain = repaired(tmp_path / "plain", method, pairs())
    run_out(monkeypatch, error, most_samples=6)

    found = repaired(tmp_path / "short", method, pairs())

    assert ("out of memory, so micro-batches are halved", {"step": 0}) in found.context.notes
    assert found.summary["last_loss"] == pytest.approx(plain.summary["last_loss"], abs=1e-4)


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_again_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run_out(monkeypatch, error, most_samples=1)

    with pytest.raises(OutOfMemory) as refused:
        repaired(tmp_path / "run", RepairMethod(DpoMethod(), FullParameters(), **COMMON), pairs())

    assert refused.value.metadata == {"step": "0"}
    assert nothing_was_published(tmp_path / "run")


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["load_causal_lm", "make_trainable"])
def test_memory_that_does_not_suffice_for_the_model_ends_the_training_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    def refusing(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(repair, where, refusing)

    with pytest.raises(OutOfMemory) as refused:
        repaired(tmp_path / "run", RepairMethod(DpoMethod(), FullParameters(), **COMMON), pairs())

    assert refused.value.metadata == {"step": "0"}


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_does_not_suffice_for_saving_ends_the_training_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The base is read a second time then, to be compared; 12 samples, one of them held out, make six steps."""

    def refusing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(repair, "weight_change", refusing)

    with pytest.raises(OutOfMemory) as refused:
        repaired(tmp_path / "run", RepairMethod(DpoMethod(), FullParameters(), **COMMON), pairs())

    assert refused.value.metadata == {"step": "6"}
    assert nothing_was_published(tmp_path / "run")


def test_real_allocation_that_cannot_succeed_is_known_for_what_it_is() -> None:
    """A petabyte; so that a new wording of torch's shows here."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 50)

    assert is_out_of_memory(refused.value)
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Makes a write beyond that size fail, as it does on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("checkpoint_every_steps", "what"), [(4, "the checkpoint of optimizer step 4"), (100, "the repaired model")]
)
def test_a_full_working_folder_ends_the_training_and_says_what_found_no_space(
    tmp_path: Path, checkpoint_every_steps: int, what: str
) -> None:
    """The weights are 33 kB in a file."""
    method = RepairMethod(DpoMethod(), FullParameters(), checkpoint_every_steps=checkpoint_every_steps, **COMMON)
    step, store = prepared(tmp_path / "run", method, pairs())
    context = QuietContext(tmp_path / "attempt", step_key(step))
    context.workdir.mkdir()

    with files_of_at_most(20_000), pytest.raises(StorageFull) as refused:
        repair.run(step, store, context)

    assert refused.value.metadata == {"what": what}
    assert nothing_was_published(tmp_path / "run")


def test_other_failures_of_a_write_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_named("a file"):
        (tmp_path / "nowhere" / "file").write_text("")


def test_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    step, store = prepared(tmp_path / "run", RepairMethod(DpoMethod(), FullParameters(), **COMMON), pairs())
    for place in (tmp_path / "run" / "base").glob("tokenizer*"):
        place.unlink()
    bare = dataclasses.replace(step, model_digest=store.put_tree(tmp_path / "run" / "base").digest)

    with pytest.raises(ModelInvalid, match="no tokenizer"):
        repair.run(bare, store, QuietContext(tmp_path, step_key(bare)))

    assert nothing_was_published(tmp_path / "run")


def test_layers_a_model_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="no layer 3"):
        repaired(tmp_path / "run", RepairMethod(DpoMethod(), FullParameters(layers=(3,)), **COMMON), pairs())


def test_paper_preset_trains_as_the_release_did(tmp_path: Path) -> None:
    """44 samples, 4 held out: 10 steps of 4, so a validation at 40 samples, the end; the rate still warming up."""
    method = resolved_method(RepairMethod(DpoMethod(), preset=RepairPreset.PAPER))

    found = repaired(tmp_path / "run", method, pairs(44))

    points = found.history["curve"]
    assert [point["step"] for point in found.history["validations"]] == [10]
    assert [point["learning_rate"] for point in points] == pytest.approx([5e-5 * step / 150 for step in range(1, 11)])
