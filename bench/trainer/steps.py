"""Optimizer steps of our loop and of TRL's, side by side on one model."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.lines import Line, lines_of
from bench.measure import Limits, Timings, interleaved
from bench.trainer import ours, peers
from bench.trainer.bounds import Work, step_flops
from bench.trainer.samples import real_tokens, with_chosen_only
from bench.trainer.step_clock import StepClock
from bench.trainer.subjects import FULL, QUICK, Size, Subject, subject
from llm_repair.core.repair import DpoMethod, Method, Precision, RepairMethod, Trainable
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample, epoch_order

BATCH = 8
"""Samples a step, the product's default."""
_TOLERANCES = {Precision.FLOAT32: 1e-4, Precision.BFLOAT16: 2e-2}
"""Largest relative distance of a loss from the peer's of the same step in fp32. In bf16, of 8 bits, a log-probability
summed over a continuation is off by tenths of a nat, for the peer as for us."""
_NAMES = {Precision.FLOAT32: "fp32", Precision.BFLOAT16: "bf16"}
_RATE = 3e-4
"""Large enough that a step which did something else would show in the losses after it."""
_NEVER = 1 << 30


@dataclass(frozen=True)
class Load:
    """How much is timed of a model."""

    steps: int
    """The first is not counted."""
    rounds: int


LOADS = {Size.TINY: Load(3, 2), Size.SMALL: Load(6, 5), Size.DEMO: Load(3, 3)}


def lines(
    bench: str, objective: Method, trainable: Trainable, *, quick: bool, limits: Limits, packed_peer: bool
) -> Iterator[Line]:
    """Yields the lines of all models and number formats."""
    for size in QUICK if quick else FULL:
        load = LOADS[size]
        subject_ = subject(size, pairs=load.steps * BATCH)
        exact: Sequence[float] | None = None
        for precision in (Precision.FLOAT32, Precision.BFLOAT16):
            method = method_of(objective, trainable, precision)
            timings = _side_by_side(subject_, method, rounds=load.rounds, packed_peer=packed_peer)
            exact = exact or timings.values["TRL"]
            counted = batches_of(_samples(subject_, method))[1:]
            yield from lines_of(
                timings,
                f"{bench}.{size.value}.{_NAMES[precision]}",
                sum(real_tokens(batch) for batch in counted),
                agrees=agreement(timings.values, exact, tolerance=_TOLERANCES[precision]),
                limit_s=limit_s(subject_, method, counted, limits),
            )


def method_of(objective: Method, trainable: Trainable, precision: Precision, *, rate: float = _RATE) -> RepairMethod:
    """Returns the defaults but for what the peers cannot be given: validation, checkpoints, our schedule."""
    return RepairMethod(
        objective,
        trainable=trainable,
        learning_rate=rate,
        precision=precision,
        epochs=1,
        batch_samples=BATCH,
        warmup_share=0.0,
        final_rate_share=1.0,
        validation_share=0.0,
        checkpoint_every_steps=_NEVER,
    )


def _side_by_side(subject_: Subject, method: RepairMethod, *, rounds: int, packed_peer: bool) -> Timings[list[float]]:
    """Returns the losses of all contenders, and how long their steps took."""
    samples = _samples(subject_, method)
    clock = StepClock()

    def ours_() -> list[float]:
        gc.collect()  # a trainer of the peer's is a cycle that holds a model
        return ours.training_losses(subject_.model(), samples, method, clock)

    def peer(*, padding_free: bool) -> list[float]:
        gc.collect()
        return peers.training_losses(subject_.model(), samples, method, clock, padding_free=padding_free)

    contenders: dict[str, Callable[[], list[float]]] = {"ours": ours_, "TRL": lambda: peer(padding_free=False)}
    if packed_peer:
        contenders["TRL, padding-free"] = lambda: peer(padding_free=True)
    return interleaved(contenders, rounds=rounds, clock=clock)


def _samples(subject_: Subject, method: RepairMethod) -> Sequence[TokenisedSample]:
    return subject_.pairs if isinstance(method.objective, DpoMethod) else with_chosen_only(subject_.pairs)


def batches_of(samples: Sequence[TokenisedSample]) -> list[list[TokenisedSample]]:
    """Returns the batches of the first epoch, in the order of the loop."""
    order = epoch_order([sample.id for sample in samples], seed=ours.SEED, epoch=0)
    return [[samples[index] for index in order[start : start + BATCH]] for start in range(0, len(order), BATCH)]


def agreement(curves: Mapping[str, Sequence[float]], expected: Sequence[float], *, tolerance: float) -> dict[str, bool]:
    """Says of every contender whether its loss curve is the expected one; of none that it is one itself."""
    return {
        name: len(curve) == len(expected)
        and all(math.isclose(one, other, rel_tol=tolerance) for one, other in zip(curve, expected, strict=True))
        for name, curve in curves.items()
        if curve is not expected
    }


def limit_s(
    subject_: Subject, method: RepairMethod, batches: Sequence[Sequence[TokenisedSample]], limits: Limits
) -> float:
    """Returns the time of the least arithmetic at the rate of a large matrix product in the same number format."""
    target = make_trainable(subject_.model(), method.trained, seed=ours.SEED)
    flops = sum(step_flops(target, Work.of(batch)) for batch in batches)
    rate = limits.bf16_gflops if method.precision is Precision.BFLOAT16 else limits.sgemm_gflops
    return flops / (1e9 * rate)
