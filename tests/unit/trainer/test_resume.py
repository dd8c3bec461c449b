"""Killed and resumed equals never killed, to the byte; torn and foreign checkpoints are refused.

The killed attempts are real processes that end by SIGKILL. This file is also their program: it imports torch once
and forks one process per attempt, because importing costs more than the attempts do.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json
from llm_repair.core.repair import (
    KL_METHODS,
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    FullParameters,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    LoraParameters,
    Optimizer,
    RepairMethod,
)
from llm_repair.core.steps import RepairStep, step_key
from llm_repair.trainer import repair

WORDS = ["<end>", "<unk>", "you", "are", "so", "very", "kind", "mean", "good", "bad", "and", "thanks"]
COMMON = {
    "learning_rate": 1e-2,
    "epochs": 3,
    "batch_samples": 4,
    "checkpoint_every_steps": 2,
    "validation_share": 0.0,
}
METHODS = {
    "sft": RepairMethod(DaptMethod(), FullParameters(), optimizer=Optimizer.RMSPROP, **COMMON),
    "lora": RepairMethod(DpoMethod(), LoraParameters(rank=2, dropout=0.2), **COMMON),
    "dpo": RepairMethod(DpoMethod(), FullParameters(), **COMMON),
    "dpo-top": RepairMethod(DpoMethod(), FullParameters(top_layers=1), **COMMON),
    "weighed": RepairMethod(
        DaptMethod(0.5),
        FullParameters(),
        **{**COMMON, "validation_share": 0.1, "validations": 4, "learning_rate": 0.1},
    ),
    "dpo-top-validated": RepairMethod(
        DpoMethod(),
        FullParameters(top_layers=1),
        **{**COMMON, "validation_share": 0.1, "validations": 4, "learning_rate": 0.1},
    ),
    "dapt-kl": RepairMethod(DaptKlMethod(), LoraParameters(rank=2), **COMMON),
    "irepair": RepairMethod(IrepairMethod(), weight_decay=0.01, **{**COMMON, "learning_rate": 2e-2}),
    "irepair-kl": RepairMethod(IrepairKlMethod(), **{**COMMON, "learning_rate": 2e-2}),
    "kto": RepairMethod(KtoMethod(), FullParameters(), **{**COMMON, "batch_samples": 8}),
}
KILLS = [
    *((name, step) for name in ("sft", "lora", "dpo") for step in (1, 5, 9)),
    *((name, 5) for name in ("dpo-top", "weighed", "dapt-kl", "irepair-kl", "kto")),
    *(("irepair", step) for step in (5, 9)),
    ("dpo-top-validated", 7),
]
"""Method and the optimizer step after which the process dies; 9 steps, checkpoints after 2, 4, 6 and 8. An unpaired
row is two samples, and so is a batch of KTO twice as large."""


@dataclass
class DyingContext:
    """A step context whose process dies, by SIGKILL, when it reports the given optimizer step."""

    key: str
    workdir: Path
    dies_after: int | None = None
    threads: int = 1
    notes: list[tuple[str, dict[str, Json]]] = field(default_factory=list)

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        if unit == "optimizer steps" and done == self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, phrase: str, **fields: Json) -> None:
        self.notes.append((phrase, fields))

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        pass

    def raise_if_cancelled(self) -> None:
        pass


def prepare(store: ArtifactStore, folder: Path, method: RepairMethod) -> RepairStep:
    """Puts a small model, a pool and a selection into a store."""
    if not folder.exists():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=32,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=0,
        )
        model = LlamaForCausalLM(config)
        # As small as they are made, embeddings would leave the first layer the most sensitive one for good.
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=4.0)
        model.save_pretrained(folder)
        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    rows = [
        Row(f"r{i:02}", ["you are", "you are so", "you"][i % 3], ["kind thanks", "good"][i % 2], ["bad", "mean"][i % 2])
        for i in range(12)
    ]
    utility = [Row(f"u{i}", text=" ".join(WORDS[2 + (i * j) % 10] for j in range(3, 8))) for i in range(10)]
    return RepairStep(
        model_digest=store.put_tree(folder).digest,
        pool_digest=write_rows(store, rows).digest,
        selection_digest=store.put_bytes(json.dumps({"ids": [row.id for row in rows]}).encode()).digest,
        method=method,
        seed=3,
        utility_digest=write_rows(store, utility).digest if isinstance(method.objective, KL_METHODS) else "",
    )


def attempt(step: RepairStep, root: Path, *, dies_after: int | None = None) -> tuple[Mapping[str, Json], DyingContext]:
    """Runs one attempt against the store under `root`; returns its summary and what was noted."""
    workdir = root / f"attempt-{len(list(root.glob('attempt-*')))}"
    workdir.mkdir()
    context = DyingContext(step_key(step), workdir, dies_after)
    output = repair.run(step, ArtifactStore(f"file://{root}/store"), context)
    return output.summary, context


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Roots in which an attempt has been killed, one folder per case."""
    home = tmp_path_factory.mktemp("killed")
    jobs: list[tuple[RepairStep, Path, int]] = []
    for name, dies_after in KILLS:
        root = home / f"{name}-{dies_after}"
        root.mkdir()
        step = prepare(ArtifactStore(f"file://{root}/store"), home / "base", METHODS[name])
        jobs.append((step, root, dies_after))
    (home / "jobs").write_bytes(pickle.dumps(jobs))
    ended = subprocess.run([sys.executable, __file__, str(home / "jobs")], capture_output=True, text=True)
    assert ended.stdout.split() == ["killed"] * len(KILLS), ended.stderr[-2000:]
    return home


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, killed: Path) -> dict[str, Mapping[str, Json]]:
    """Summary of an attempt that was left alone, by method."""
    summaries: dict[str, Mapping[str, Json]] = {}
    for name, method in METHODS.items():
        root = tmp_path_factory.mktemp(name)
        summaries[name], _ = attempt(prepare(ArtifactStore(f"file://{root}/store"), killed / "base", method), root)
    return summaries


@pytest.mark.parametrize(("name", "dies_after"), KILLS)
def test_killed_and_resumed_ends_with_the_bytes_of_the_undisturbed_run(
    killed: Path, undisturbed: dict[str, Mapping[str, Json]], name: str, dies_after: int, tmp_path: Path
) -> None:
    """A checkpoint follows every second step, before its progress report, so 5 resumes from 4 and 1 starts anew."""
    shutil.copytree(killed / f"{name}-{dies_after}", tmp_path, dirs_exist_ok=True)
    step = prepare(ArtifactStore(f"file://{tmp_path}/store"), killed / "base", METHODS[name])

    summary, context = attempt(step, tmp_path)

    last_checkpoint = dies_after - dies_after % 2
    expected = [("resumed from checkpoint", {"step": last_checkpoint})] if last_checkpoint else []
    assert context.notes == expected
    assert summary["weights_digest"] == undisturbed[name]["weights_digest"]
    assert summary["steps_by_block"] == undisturbed[name]["steps_by_block"]


def test_equality_above_says_something(undisturbed: dict[str, Mapping[str, Json]]) -> None:
    """The methods end in different weights, those of the last of 9 steps, but with a validation those of an early one
    that the checkpoint must carry; IREPAIR's blocks were updated unequally.
    """
    kept = {name: summary["kept_step"] for name, summary in undisturbed.items()}
    assert len({summary["weights_digest"] for summary in undisturbed.values()}) == len(METHODS)
    assert kept == {**dict.fromkeys(METHODS, 9), "weighed": 3, "dpo-top-validated": 5}
    assert len(undisturbed["irepair"]["steps_by_block"]) > 1  # type: ignore[arg-type]


def plant(store: ArtifactStore, key: str, folder: Path, number: int, **changes: Json) -> None:
    """Files a copy of the newest checkpoint as a later step, with its state changed."""
    shutil.copytree(store.materialize(store.checkpoints(key)[0].digest), folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").unlink()
    (folder / "state.json").write_text(json.dumps(state | changes))
    store.put_checkpoint(key, number, folder, keep=3)


def test_foreign_checkpoint_is_refused_and_an_older_one_taken(
    killed: Path, undisturbed: dict[str, Mapping[str, Json]], tmp_path: Path
) -> None:
    shutil.copytree(killed / "dpo-5", tmp_path / "root")
    store = ArtifactStore(f"file://{tmp_path}/root/store")
    step = prepare(store, killed / "base", METHODS["dpo"])
    plant(store, step_key(step), tmp_path / "planted", 7, base_digest="sha256:" + "0" * 64)

    summary, context = attempt(step, tmp_path / "root")

    assert context.notes == [
        ("checkpoint refused", {"step": 7, "reason": "CHECKPOINT_FOREIGN"}),
        ("resumed from checkpoint", {"step": 4}),
    ]
    assert summary["weights_digest"] == undisturbed["dpo"]["weights_digest"]


def test_run_whose_checkpoints_are_all_torn_starts_over_and_says_so(
    killed: Path, undisturbed: dict[str, Mapping[str, Json]], tmp_path: Path
) -> None:
    step = prepare(ArtifactStore(f"file://{tmp_path}/store"), killed / "base", METHODS["dpo"])
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "state.json").write_text('{"step": 4')
    ArtifactStore(f"file://{tmp_path}/store").put_checkpoint(step_key(step), 4, torn)

    summary, context = attempt(step, tmp_path)

    assert context.notes == [
        ("checkpoint refused", {"step": 4, "reason": "CHECKPOINT_INCOMPLETE"}),
        ("started over", {"refused": 1}),
    ]
    assert summary["weights_digest"] == undisturbed["dpo"]["weights_digest"]


def cut(place: Path) -> None:
    content = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("torn", [1, 2])
@pytest.mark.parametrize("part", ["record", "tree", "weights"])
def test_checkpoint_that_the_disk_has_torn_is_refused_and_never_passed_over(
    killed: Path, undisturbed: dict[str, Mapping[str, Json]], tmp_path: Path, part: str, torn: int
) -> None:
    """Of those of steps 4 and 2, the newest or both have lost half of one file in the store."""
    shutil.copytree(killed / "dpo-5", tmp_path, dirs_exist_ok=True)
    store = ArtifactStore(f"file://{tmp_path}/store")
    step = prepare(store, killed / "base", METHODS["dpo"])
    (home,) = (tmp_path / "store").glob(f"projects/*/checkpoints/{step_key(step)}")
    for record in store.checkpoints(step_key(step))[:torn]:
        tree = next(home.glob(f"trees/*/*/{record.digest.removeprefix('sha256:')}"))
        weights = json.loads(tree.read_text())["entries"]["weights.safetensors"]["digest"].removeprefix("sha256:")
        places = {
            "record": home / f"{record.step:012d}",
            "tree": tree,
            "weights": next(home.glob(f"blobs/*/*/{weights}")),
        }
        cut(places[part])

    summary, context = attempt(step, tmp_path)

    reason = "ARTIFACT_NOT_FOUND" if part == "record" else "ARTIFACT_CORRUPT"
    refused = [("checkpoint refused", {"step": number, "reason": reason}) for number in (4, 2)[:torn]]
    gone_on = ("started over", {"refused": 2}) if torn == 2 else ("resumed from checkpoint", {"step": 2})
    assert context.notes == [*refused, gone_on]
    assert summary["weights_digest"] == undisturbed["dpo"]["weights_digest"]


def test_checkpoint_with_half_a_weights_file_is_refused(
    killed: Path, undisturbed: dict[str, Mapping[str, Json]], tmp_path: Path
) -> None:
    shutil.copytree(killed / "dpo-5", tmp_path / "root")
    store = ArtifactStore(f"file://{tmp_path}/root/store")
    step = prepare(store, killed / "base", METHODS["dpo"])
    plant(store, step_key(step), tmp_path / "planted", 6)
    half = (tmp_path / "planted" / "weights.safetensors").read_bytes()[:700]
    (tmp_path / "planted" / "weights.safetensors").unlink()
    (tmp_path / "planted" / "weights.safetensors").write_bytes(half)
    store.put_checkpoint(step_key(step), 7, tmp_path / "planted", keep=4)

    summary, context = attempt(step, tmp_path / "root")

    assert context.notes[0] == ("checkpoint refused", {"step": 7, "reason": "CHECKPOINT_INCOMPLETE"})
    assert summary["weights_digest"] == undisturbed["dpo"]["weights_digest"]


def _run_until_killed(jobs: list[tuple[RepairStep, Path, int]]) -> None:
    """Forks one process per job and prints how it ended; before any computation, so that forking is safe."""
    for step, root, dies_after in jobs:
        child = os.fork()
        if child == 0:
            attempt(step, root, dies_after=dies_after)
            os._exit(0)
        _, state = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(state) and os.WTERMSIG(state) == signal.SIGKILL else f"ended:{state}")


if __name__ == "__main__":
    _run_until_killed(pickle.loads(Path(sys.argv[1]).read_bytes()))
