# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""`trainer.ranks.<model>.fp32`: steps that two ranks take together, against those of one rank with their two threads.

Two processes with a thread each, that meet by gloo on loopback, as the repair step starts them: every rank with all
weights (DDP), which is ours, or with half of them (FSDP2). The peer is the same loop in one process, which shares the
work inside each matrix product. SFT of the whole model in batches of 8; samples, optimizer, clock, size and limit as in
`trainer.sft`. `value_agrees`: every loss differs from that of one rank by at most 1e-4 relatively.

It says what ranks cost where they cannot help, on one machine's processors: what they send, and waiting for whoever has
the longer samples. On devices of their own the peer has but one of them.

Quick: a random Llama of 0.2 million parameters and random tokens.
"""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.trainer import ours, steps
from bench.trainer.samples import real_tokens, with_chosen_only
from bench.trainer.step_clock import StepClock
from bench.trainer.subjects import Size, Subject, model_of, subject
from llm_repair.core.execution import RankPlace
from llm_repair.core.repair import DaptMethod, FullParameters, Precision, RepairMethod, Sharding
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.ranks import joined

_RANKS = 2
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Work:
    """What the ranks train, the same in both processes."""

    subject: Subject
    samples: list[TokenisedSample]
    method: RepairMethod

    def losses(self, rank: int, sharding: Sharding, meeting: Path, clock: StepClock) -> list[float]:
        """Trains as one of the ranks."""
        torch.set_num_threads(1)
        with joined(RankPlace(rank, _RANKS, meeting), sharding) as ranks:
            return ours.training_losses(self.subject.model(), self.samples, self.method, clock, ranks=ranks)


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of one model."""
    size = Size.TINY if quick else Size.SMALL
    load = steps.LOADS[size]
    of_pairs = subject(size, pairs=load.steps * steps.BATCH)
    method = steps.method_of(DaptMethod(), FullParameters(), Precision.FLOAT32)
    work = _Work(of_pairs, with_chosen_only(of_pairs.pairs), method)
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        meetings = (Path(scratch) / f"meeting-{number}" for number in itertools.count())
        with _Partner(work, Path(scratch)) as partner:

            def together(sharding: Sharding) -> list[float]:
                meeting = next(meetings)
                partner.joins(sharding, meeting)
                return work.losses(0, sharding, meeting, clock)

            def alone() -> list[float]:
                torch.set_num_threads(_RANKS)
                return ours.training_losses(of_pairs.model(), work.samples, method, clock)

            peer = f"1 rank, {_RANKS} threads"
            contenders: dict[str, Callable[[], list[float]]] = {
                "ours, 2 ranks, DDP": lambda: together(Sharding.DDP),
                "2 ranks, FSDP2": lambda: together(Sharding.FSDP),
                peer: alone,
            }
            timings = interleaved(contenders, rounds=load.rounds, clock=clock)
    counted = steps.batches_of(work.samples)[1:]
    yield from lines_of(
        timings,
        f"trainer.ranks.{size.value}.fp32",
        sum(real_tokens(batch) for batch in counted),
        agrees=steps.agreement(timings.values, timings.values[peer], tolerance=_TOLERANCE),
        limit_s=steps.limit_s(of_pairs, method, counted, limits),
    )


class _Partner:
    """The process of the second rank; it takes part in each run that it is told of, until it is told of no more."""

    def __init__(self, work: _Work, scratch: Path) -> None:
        self._work = scratch / "work"
        self._work.write_bytes(pickle.dumps((work.subject.size, work.samples, work.method)))

    def __enter__(self) -> _Partner:
        # On loopback, as the ranks of a worker.
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        command = [sys.executable, "-m", "bench.trainer.ranks", "--partner", str(self._work)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        return self

    def joins(self, sharding: Sharding, meeting: Path) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{sharding.name} {meeting}\n".encode())
        self._process.stdin.flush()

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _take_part(description: Path) -> None:
    size, samples, method = pickle.loads(description.read_bytes())
    work = _Work(Subject(size, model_of(size), samples), samples, method)
    for line in sys.stdin:
        sharding, _, meeting = line.rstrip("\n").partition(" ")
        work.losses(1, Sharding[sharding], Path(meeting), StepClock())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--partner"]:
        _take_part(Path(sys.argv[2]))
    else:
        area.main(__doc__, lines)
