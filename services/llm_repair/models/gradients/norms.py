"""Gradient norms of samples by the fastest way that gives the plain way's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.core.errors import ModelInvalid
from llm_repair.models.gradients.ghost import GhostNorms
from llm_repair.models.gradients.layers import Squares
from llm_repair.models.gradients.loop import looped_norm
from llm_repair.models.gradients.loss import SampleLoss
from llm_repair.models.gradients.rules import RuleMissing
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BATCH_TOKENS = 1024
"""Padded tokens of a batch on a processor: enough for full matrix products, few enough for large models."""
ACCELERATOR_BATCH_TOKENS = 4096
CANCELLATION = 30.0
"""A sample whose squares fall by more than this when its tokens are added up is done again by the loop: the sum of
Gram matrices loses that factor of its seven digits."""
TOLERANCE = 1e-4
"""Largest relative difference on the probes in fp32. Rounding stays near 1e-6; a wrong rule is off by far more."""


@dataclass(frozen=True)
class BatchNorms:
    """The norms of a batch."""

    values: FloatArray
    """(samples,)."""
    looped: int
    """How many samples had a backward pass of their own."""


class GradientNorms:
    """l2 norms of the whole per-sample gradient at one model.

    By ghost norms where every trained layer has a rule and a few samples agree with the loop, else by the loop.
    """

    def __init__(
        self, target: TrainableModel, loss: SampleLoss, samples: Sequence[TokenisedSample], *, half: bool
    ) -> None:
        """Chooses the way.

        samples: at least one, of which the shortest, the middle and the longest are tried. half: bf16 autocast.

        Raises:
          ModelInvalid: no parameter is trained, or none takes part in the loss.
        """
        if not target.parameters:
            raise ModelInvalid("no parameter of this model is trained, so it has no gradient", field="method.trainable")
        self._target = target
        self._loss = loss
        self._half = half
        self._ghost: GhostNorms | None = None
        self.reason = ""
        """Why the loop is taken; empty for ghost norms."""
        try:
            self._require_agreement(_probes([sample for sample in samples if not loss.is_constant(sample)]))
            self._ghost = GhostNorms(target, loss, half=half)
        except RuleMissing as missing:
            self.reason = str(missing)

    @property
    def path(self) -> str:
        """The way that is taken: `ghost` or `loop`."""
        return "loop" if self._ghost is None else "ghost"

    def batches(self, samples: Sequence[TokenisedSample]) -> list[list[int]]:
        """Returns positions of samples that go together: neighbours in length, longest first, ties by id.

        A function of the samples alone. By the loop every sample goes by itself.
        """
        lengths = [max(len(sample.prompt) + len(own) for own in sample.continuations) for sample in samples]
        order = sorted(range(len(samples)), key=lambda at: (-lengths[at], samples[at].id))
        batches: list[list[int]] = []
        start = 0
        while start < len(order):
            size = self._most_samples(lengths[order[start]])
            batches.append(order[start : start + size])
            start += size
        return batches

    def of(self, samples: Sequence[TokenisedSample]) -> BatchNorms:
        """Returns the norms of a batch; how a pool is cut into batches changes them by rounding only."""
        values, holds = self._by_ghost(samples)
        looped = 0
        for place, sample in enumerate(samples):
            if self._loss.is_constant(sample):
                # Two halves that cancel leave their rounding.
                values[place] = 0.0
            elif not holds[place]:
                values[place] = self._by_loop(sample, half=self._half)
                looped += 1
        return BatchNorms(values, looped)

    def _by_ghost(self, samples: Sequence[TokenisedSample]) -> tuple[FloatArray, BoolArray]:
        """Returns the norms as far as there are, and which of them hold."""
        nothing = np.zeros(len(samples)), np.zeros(len(samples), dtype=np.bool_)
        if self._ghost is None:
            return nothing
        try:
            return _norms(self._ghost.squares(samples))
        except RuleMissing:
            # Which layers run may depend on the tokens, so the probes could not tell.
            return nothing

    def _by_loop(self, sample: TokenisedSample, *, half: bool) -> float:
        return looped_norm(self._target, sample, self._loss, half=half)

    def _most_samples(self, longest: int) -> int:
        if self._ghost is None:
            return 1
        tokens = BATCH_TOKENS if self._target.model.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
        return max(1, tokens // (longest * self._loss.continuations))

    def _require_agreement(self, probes: Sequence[TokenisedSample]) -> None:
        """Raises `RuleMissing` unless both ways agree in fp32; the loop goes first, and its refusals are final."""
        looped = np.array([self._by_loop(probe, half=False) for probe in probes])
        if not probes:
            return
        try:
            norms, holds = _norms(GhostNorms(self._target, self._loss, half=False).squares(probes))
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            # The model itself runs, as the loop has shown; it is only not built as expected.
            raise RuleMissing(f"the ghost pass ends with {type(error).__name__}") from error
        if not np.allclose(norms[holds], looped[holds], rtol=TOLERANCE, atol=0):
            raise RuleMissing("the norms of a few samples differ from those of their own backward passes")


def _norms(squares: Squares) -> tuple[FloatArray, BoolArray]:
    """Returns the norms, and which of them kept their digits."""
    whole, apart = squares.whole.numpy(), squares.apart.numpy()
    return np.sqrt(np.maximum(whole, 0.0)), ~(apart > CANCELLATION * whole)


def _probes(samples: Sequence[TokenisedSample]) -> list[TokenisedSample]:
    ordered = sorted(samples, key=lambda sample: (sample.tokens, sample.id))
    return [ordered[place] for place in sorted({0, len(ordered) // 2, len(ordered) - 1})] if ordered else []
