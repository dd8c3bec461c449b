"""Two ranks train what one would, to the rounding, however a batch falls to them; and resume to the bit.

The ranks are two real processes that meet by gloo. This file is also their program: they import torch once and go
through all jobs together, because importing costs more than the jobs do. They end in order; what becomes of ranks that
are killed is tested where something starts them, in `acceptance/test_ranks.py`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest
import torch
from gradient_models import made, samples_of
from training_oracle import QuietContext
from training_runs import Repaired, base_model, pairs, prepared, texts

from llm_repair.artifacts.store import ArtifactStore, CheckpointRecord
from llm_repair.core.errors import ArtifactCorrupt, InvalidFields, OutOfMemory
from llm_repair.core.execution import Artifact, Json, RankPlace, StepOutput
from llm_repair.core.repair import (
    KL_METHODS,
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    FullParameters,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    LoraParameters,
    Method,
    Optimizer,
    Parallelism,
    RepairMethod,
    Sharding,
    Trainable,
)
from llm_repair.core.steps import RepairStep
from llm_repair.models.training import log_probs
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.learner import Learner
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.ranks import ALONE, Ranks, joined
from llm_repair.models.training.sharding import whole
from llm_repair.trainer import repair
from llm_repair.trainer.methods import objective_of

DDP, FSDP = Sharding.DDP, Sharding.FSDP
EVERYTHING = FullParameters()
METHODS: Mapping[str, tuple[Method, Trainable]] = {
    "sft": (DaptMethod(), EVERYTHING),
    "weighed": (DaptMethod(0.5), EVERYTHING),
    "lora": (DpoMethod(), LoraParameters(rank=2)),
    "dpo": (DpoMethod(), EVERYTHING),
    "top": (DpoMethod(), FullParameters(top_layers=1)),
    # At the first step the gradient of the divergence is but rounding, which AdamW would make a whole step of in the
    # embeddings of words that no sample has.
    "dapt-kl": (DaptKlMethod(), FullParameters(top_layers=3)),
    "irepair": (IrepairMethod(), EVERYTHING),
    "irepair-kl": (IrepairKlMethod(), EVERYTHING),
    "exmate": (ExmateMethod(dpo_weight=0.5), EVERYTHING),
    "kto": (KtoMethod(), EVERYTHING),
}


def method_of(name: str, sharding: Sharding = DDP, **settings: Any) -> RepairMethod:
    """Of 10 rows one is held out, so two epochs of 4, 4 and 1 samples: at the last a rank has none, as in validation.

    Of KTO, whose samples are twice as many, five steps an epoch.
    """
    objective, trainable = METHODS[name]
    common = {"learning_rate": 1e-2, "epochs": 2, "batch_samples": 4, "checkpoint_every_steps": 2}
    return RepairMethod(objective, trainable, parallelism=Parallelism(2, sharding), **{**common, **settings})


@dataclass(frozen=True)
class Job:
    """A repair by two ranks."""

    method: RepairMethod
    attempts: Sequence[int | None] = (None,)
    """After which optimizer step each attempt ends by a failure of both ranks; None for one that is left alone."""
    part_tokens: int = log_probs.PART_TOKENS
    halved: bool = False
    unreadable: int = 0
    """The checkpoint of this step cannot be read by rank 1 alone."""


PLAIN = {f"{name} {each.name}": Job(method_of(name, each)) for name in METHODS for each in Sharding}
RECOMPUTED = {f"recomputed {each.name}": Job(method_of("dpo", each, gradient_checkpointing=True)) for each in Sharding}
PARTED = {
    f"{name} in parts {each.name}": Job(method_of(name, each), part_tokens=10)
    for name, each in (("sft", DDP), ("irepair", DDP), ("dapt-kl", DDP), ("dapt-kl", FSDP), ("kto", FSDP))
}
HALVED = {f"halved {each.name}": Job(method_of("dpo", each), halved=True) for each in Sharding}
RESUMED = {
    f"{name} {each.name} resumed": Job(method_of(name, each), attempts=(1, 3, 5, None))
    for name, each in (("sft", DDP), ("lora", DDP), ("dpo", DDP), ("dpo", FSDP))
}
ENDED_EARLY = {f"ended early {each.name}": Job(method_of("dpo", each), attempts=(3,)) for each in Sharding}
NOISY = {
    name: Job(replace(method_of("lora", optimizer=Optimizer.RMSPROP), trainable=LoraParameters(rank=2, dropout=0.3)))
    for name in ("noisy", "noisy again")
}
UNREADABLE = {"unreadable": Job(method_of("dpo"), attempts=(5, None), unreadable=4)}
JOBS: Mapping[str, Job] = {**PLAIN, **RECOMPUTED, **PARTED, **HALVED, **RESUMED, **ENDED_EARLY, **NOISY, **UNREADABLE}

PLAIN_SAMPLE = TokenisedSample("s", (2, 3), ((4, 5),))
SHAPES = ("gpt2", "gpt_neo", "pythia", "llama", "qwen2", "qwen3")


class Failure(Exception):
    """The attempt ends here, on both ranks."""


@dataclass
class CountingContext(QuietContext):
    """A step context that ends the attempt when an optimizer step is reported, and adds up what is counted."""

    fails_after: int | None = None
    tokens: int = 0

    def progress(self, done: float, total: float, unit: str, **_: object) -> None:
        if unit == "optimizer steps" and done == self.fails_after:
            raise Failure

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        self.tokens += tokens


class HalfBlindStore(ArtifactStore):
    """A store that finds the checkpoint of one step spoilt."""

    unreadable = 0
    spoilt: str | None = None

    def checkpoints(self, key: str) -> list[CheckpointRecord]:
        records = super().checkpoints(key)
        self.spoilt = next((record.digest for record in records if record.step == self.unreadable), None)
        return records

    def materialize(self, digest: str) -> Path:
        if digest == self.spoilt:
            raise ArtifactCorrupt(digest=digest)
        return super().materialize(digest)


@dataclass(frozen=True)
class Outcome:
    """What a rank came to in its last attempt."""

    summary: Mapping[str, Json]
    outputs: Mapping[str, Artifact]
    notes: Sequence[tuple[str, Mapping[str, Json]]]
    tokens: int


@dataclass(frozen=True)
class Found:
    """What both ranks came to."""

    folder: Path
    step: RepairStep
    store: ArtifactStore
    ranks: Sequence[Outcome]

    @property
    def repaired(self) -> Repaired:
        """What rank 0 left."""
        first = self.ranks[0]
        return Repaired(StepOutput(first.outputs, first.summary), self.store, QuietContext(notes=list(first.notes)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have done all jobs, on processors."""
    return done_by_two(tmp_path_factory.mktemp("ranks"), CUDA_VISIBLE_DEVICES="")


@pytest.fixture(scope="module")
def home_on_gpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on two GPUs."""
    if torch.cuda.device_count() < 2:
        pytest.skip("there are not two GPUs")
    return done_by_two(tmp_path_factory.mktemp("ranks"))


def done_by_two(home: Path, **environment: str) -> Path:
    """Has two processes do all jobs in a folder, with one store."""
    step, _ = prepared(home / "run", method_of("sft"), pairs(10), utility=texts())
    (home / "step").write_bytes(pickle.dumps(step))
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(home), str(rank)],
            stderr=subprocess.PIPE,
            env={**os.environ, **loopback, **environment},
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors.decode()[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return home


def found_of(home: Path, name: str) -> Found:
    ranks = [Outcome(*pickle.loads((home / f"{name} {rank}").read_bytes())) for rank in range(2)]
    return Found(home, step_of(home, name), store_of(home), ranks)


def store_of(home: Path) -> HalfBlindStore:
    return HalfBlindStore(f"file://{home}/run/store")


def step_of(home: Path, name: str) -> RepairStep:
    step, method = pickle.loads((home / "step").read_bytes()), JOBS[name].method
    has_divergence = isinstance(method.objective, KL_METHODS)
    return replace(step, method=method, utility_digest=step.utility_digest if has_divergence else "")


def key_of(name: str) -> str:
    """Returns a key of a job's own, since several jobs do the same step."""
    return hashlib.sha256(name.encode()).hexdigest()


def alone(found: Found, *, key: str = "") -> Repaired:
    """Does the step by one rank, under a key of which the store has no checkpoint if none is given."""
    workdir = Path(tempfile.mkdtemp(dir=found.folder))
    context = CountingContext(workdir, key or key_of(workdir.name))
    return Repaired(repair.repaired(found.step, found.store, context, ALONE), found.store, context)


def assert_same_training(found: Repaired, expected: Repaired) -> None:
    """Compares losses, norms, measures and choices of every step, and the weights kept, within rounding in fp32.

    The share of pairs that are ranked right is left out: it takes the sign of what is zero before the first step.
    """
    for point, other in zip(found.history["curve"], expected.history["curve"], strict=True):
        for name in ("loss", "gradient_norm", "learning_rate"):
            assert point[name] == pytest.approx(other[name], rel=1e-5), name
        for name in (point["measures"].keys() | other["measures"].keys()) - {"reward_accuracy"}:
            assert point["measures"][name] == pytest.approx(other["measures"][name], rel=1e-5, abs=1e-6), name
        assert (point["tokens"], point["block"]) == (other["tokens"], other["block"])
    for point, other in zip(found.history["validations"], expected.history["validations"], strict=True):
        assert point == pytest.approx(other, rel=1e-5)
    kept = expected.model.state_dict()
    for name, value in found.model.state_dict().items():
        torch.testing.assert_close(value, kept[name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("name", [*PLAIN, *RECOMPUTED, *PARTED, *HALVED])
def test_two_ranks_train_what_one_does(home: Path, name: str) -> None:
    found = found_of(home, name)

    assert_same_training(found.repaired, alone(found))


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*PLAIN, *RECOMPUTED, *PARTED])
def test_two_gpus_train_what_one_processor_does(home_on_gpus: Path, name: str) -> None:
    """The order of sums is another one on a GPU, so the losses agree within a thousandth."""
    found = found_of(home_on_gpus, name)

    curve, expected = found.repaired.history["curve"], alone(found).history["curve"]

    assert [point["loss"] for point in curve] == pytest.approx([point["loss"] for point in expected], rel=1e-3)
    assert [point["block"] for point in curve] == [point["block"] for point in expected]


@pytest.mark.parametrize("name", ["lora FSDP", "irepair DDP", "dapt-kl in parts DDP", "kto in parts FSDP"])
def test_ranks_share_the_tokens_and_read_none_twice(home: Path, name: str) -> None:
    """What a rank reads only to keep step with the other is not counted; previews and references are, once."""
    found = found_of(home, name)
    context = alone(found).context
    assert isinstance(context, CountingContext)

    assert sum(outcome.tokens for outcome in found.ranks) == context.tokens
    assert all(outcome.tokens > 0.3 * context.tokens for outcome in found.ranks)


@pytest.mark.parametrize("name", RESUMED)
def test_ranks_that_failed_and_resumed_end_with_the_bytes_of_the_undisturbed_ones(home: Path, name: str) -> None:
    """Attempts end after steps 1, 3 and 5; checkpoints follow steps 2 and 4."""
    resumed, undisturbed = found_of(home, name), found_of(home, name.removesuffix(" resumed"))

    assert resumed.ranks[0].summary["weights_digest"] == undisturbed.ranks[0].summary["weights_digest"]
    assert [outcome.notes for outcome in resumed.ranks] == [[("resumed from checkpoint", {"step": 4})]] * 2


def test_ranks_go_on_from_a_checkpoint_that_all_of_them_can_read(home: Path) -> None:
    """From that of step 2, to the same weights; both say why."""
    found, undisturbed = found_of(home, "unreadable"), found_of(home, "dpo DDP")

    assert [outcome.notes for outcome in found.ranks] == 2 * [
        [
            ("checkpoint refused", {"step": 4, "reason": "ARTIFACT_CORRUPT"}),
            ("resumed from checkpoint", {"step": 2}),
        ]
    ]
    assert found.ranks[0].summary["weights_digest"] == undisturbed.ranks[0].summary["weights_digest"]


@pytest.mark.parametrize("name", ENDED_EARLY)
def test_one_rank_goes_on_where_two_had_stopped(home: Path, name: str) -> None:
    """From the checkpoint of step 2; whole weights and moments, whoever held which part of them."""
    found = found_of(home, name)

    resumed = alone(found, key=key_of(name))

    assert resumed.context.notes == [("resumed from checkpoint", {"step": 2})]
    assert_same_training(resumed, alone(found))


def test_noise_of_dropout_is_the_same_in_every_run(home: Path) -> None:
    noisy, again, quiet = (found_of(home, name).ranks[0].summary for name in ("noisy", "noisy again", "lora DDP"))

    assert noisy["weights_digest"] == again["weights_digest"]
    assert noisy["last_loss"] != quiet["last_loss"]


def test_only_the_first_rank_publishes(home: Path) -> None:
    for name in JOBS:
        assert not found_of(home, name).ranks[1].outputs


def gradients(shape: str, tied: bool, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Returns what a batch of pairs leaves in a model, whole; DPO, five samples."""
    target, samples = make_trainable(made(shape, tied=tied), EVERYTHING, seed=0), samples_of(2)[:5]
    method = RepairMethod(DpoMethod(), EVERYTHING)
    learner = Learner(
        target,
        samples,
        objective=objective_of(DpoMethod()),
        method=method,
        seed=0,
        context=QuietContext(),
        ranks=ranks,
    )
    learner.remember(samples, learner.measure_reference(samples))
    learner.learn(samples, 1)
    return {name: whole(value.grad) for name, value in target.parameters.items() if value.grad is not None}


@pytest.mark.parametrize("sharding", Sharding)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_every_shape_is_that_of_one_rank(home: Path, shape: str, tied: bool, sharding: Sharding) -> None:
    found = torch.load(home / f"gradients {shape} {tied} {sharding.name}")

    expected = gradients(shape, tied, ALONE)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_ranks_hold_a_part_of_sharded_weights_and_all_others(home: Path) -> None:
    """Half each, since every dimension of the model is even but that of a bias, of which it has none."""
    held = [json.loads((home / f"held-{rank}").read_text()) for rank in range(2)]

    assert held[0]["FSDP"] == held[1]["FSDP"] == held[0]["DDP"] // 2
    assert held[0]["DDP"] == held[1]["DDP"]


@dataclass
class StartingContext(QuietContext):
    """A step context that is asked for ranks, the first of which run out of memory so many times."""

    shortages: int = 0
    entries: list[str] = field(default_factory=list[str])

    def run_ranks(self, entry: str, ranks: int) -> StepOutput:
        self.entries.append(entry)
        if len(self.entries) <= self.shortages:
            raise OutOfMemory(step=3)
        return StepOutput({})


def two_ranks(folder: Path) -> tuple[RepairStep, ArtifactStore]:
    return prepared(folder, method_of("sft"), pairs(10))


def test_ranks_that_run_out_of_memory_begin_again_on_halves(tmp_path: Path) -> None:
    context = StartingContext(shortages=1)

    repair.run(*two_ranks(tmp_path / "run"), context)

    assert context.entries == [repair.RANK, repair.RANK_ON_HALVES]
    assert context.notes == [("out of memory, so micro-batches are halved", {"step": 3})]


def test_ranks_that_run_out_of_memory_on_halves_too_fail(tmp_path: Path) -> None:
    context = StartingContext(shortages=2)

    with pytest.raises(OutOfMemory):
        repair.run(*two_ranks(tmp_path / "run"), context)

    assert context.entries == [repair.RANK, repair.RANK_ON_HALVES]


@pytest.mark.parametrize(("gpus", "kind"), [(0, "processor"), (1, "GPU")])
def test_more_ranks_than_devices_are_refused_by_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, kind: str
) -> None:
    """However many processors there are, where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    devices = gpus or len(os.sched_getaffinity(0))
    step, store = two_ranks(tmp_path / "run")
    method = replace(step.method, parallelism=Parallelism(devices + 1))
    context = StartingContext()

    with pytest.raises(InvalidFields) as refused:
        repair.run(replace(step, method=method), store, context)

    (violation,) = refused.value.violations
    assert violation.field == "method.parallelism.ranks"
    assert f"at most {devices}: each rank needs a {kind}" in violation.description
    assert context.entries == []


def _run_jobs(home: Path, rank: int) -> None:
    for name in JOBS:
        outcome = _outcome(home, name, rank)
        (home / f"{name} {rank}").write_bytes(pickle.dumps(tuple(vars(outcome).values())))
    for shape, tied, sharding in itertools.product(SHAPES, (False, True), Sharding):
        name = f"gradients {shape} {tied} {sharding.name}"
        with joined(RankPlace(rank, 2, home / f"{name} meeting"), sharding) as ranks:
            found = gradients(shape, tied, ranks)
        if rank == 0:
            torch.save(found, home / name)
    (home / f"held-{rank}").write_text(json.dumps({each.name: _held(home, rank, each) for each in Sharding}))


def _outcome(home: Path, name: str, rank: int) -> Outcome:
    job, step, output, context = JOBS[name], step_of(home, name), StepOutput({}), CountingContext()
    log_probs.PART_TOKENS = job.part_tokens  # type: ignore[misc]
    entry = repair.run_rank_on_halves if job.halved else repair.run_rank
    for number, fails_after in enumerate(job.attempts):
        context = CountingContext(Path(tempfile.mkdtemp(dir=home)), key_of(name), fails_after=fails_after)
        store = store_of(home)
        store.unreadable = job.unreadable if rank == 1 else 0
        try:
            output = entry(step, store, context, RankPlace(rank, 2, home / f"{name} meeting-{number}"))
        except Failure:
            torch.distributed.destroy_process_group()
    return Outcome(output.summary, output.outputs, context.notes, context.tokens)


def _held(home: Path, rank: int, sharding: Sharding) -> int:
    """Returns how many numbers of the model a rank keeps."""
    model = base_model()
    with joined(RankPlace(rank, 2, home / f"meeting-{sharding.name}"), sharding) as ranks:
        LogProbs(model, [PLAIN_SAMPLE], prompt_in_loss=False, half=False, ranks=ranks)
        parts = [value.to_local() if sharding is FSDP else value for value in model.parameters()]  # type: ignore[operator]
        return sum(part.numel() for part in parts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _run_jobs(Path(sys.argv[1]), int(sys.argv[2]))
