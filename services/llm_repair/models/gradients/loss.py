"""The loss whose per-sample gradient is meant, as weights of token losses.

At the model that is scored, the gradient of every loss here is that of a weighted sum of negative log-likelihoods,
one weight a continuation. That is all a gradient norm needs to know of a repair method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_repair.core.errors import NotCarriedOut
from llm_repair.core.repair import DaptMethod, DpoMethod, ExmateMethod, KtoMethod, RepairMethod
from llm_repair.models.training.batches import TokenisedSample


class SampleLoss(Protocol):
    """What the loss of one sample weighs."""

    @property
    def continuations(self) -> int:
        """The most that a sample has: 1 for the chosen one, 2 for the pair."""
        ...

    @property
    def prompt_in_loss(self) -> bool:
        """Whether the prompt's tokens are learnt too."""
        ...

    @property
    def needs_log_probs(self) -> bool:
        """Whether the weights depend on how likely the continuations are."""
        ...

    def weights(self, sample: TokenisedSample, mean_log_probs: Sequence[float]) -> tuple[float, ...]:
        """Returns the weight of the summed negative log-likelihood of each continuation.

        mean_log_probs: log p of a learnt token of each continuation, the mean; may be left out where not needed.
        """
        ...

    def is_constant(self, sample: TokenisedSample) -> bool:
        """Says whether the loss is the same at every model."""
        ...


@dataclass(frozen=True)
class MeanLikelihood:
    """DAPT: the mean negative log-likelihood of the learnt tokens of the chosen continuation.

    That is what training minimises on a batch of this sample alone.
    """

    prompt_in_loss: bool
    continuations: int = 1
    needs_log_probs: bool = False

    def weights(self, sample: TokenisedSample, mean_log_probs: Sequence[float]) -> tuple[float, ...]:
        """Returns one over the number of learnt tokens."""
        prompt = len(sample.prompt) - 1 if self.prompt_in_loss else 0
        return (1.0 / (prompt + len(sample.continuations[0])),)

    def is_constant(self, sample: TokenisedSample) -> bool:
        """Says no."""
        return False


@dataclass(frozen=True)
class Margin:
    """DPO and KTO: what pulls a wanted continuation up and pushes an unwanted one down, summed over tokens.

    Both count from the model itself, so that the arguments of their sigmoids are 0. DPO: the gradient is (1 - 2ε) β/2
    times that of log π(y-) - log π(y+) (Rafailov et al., eq. 7). KTO: λ_D β/4 times that of -log π(y+), and λ_U β/4
    times that of log π(y-) (Ethayarajh et al., eq. 8, with z0 = 0); of a sample with one side, that side's alone.
    """

    wanted: float
    unwanted: float
    prompt_in_loss: bool = False
    continuations: int = 2
    needs_log_probs: bool = False

    def weights(self, sample: TokenisedSample, mean_log_probs: Sequence[float]) -> tuple[float, ...]:
        """Returns the weights of both sides, or of the one there is."""
        if len(sample.continuations) == 2:
            return (self.wanted, -self.unwanted)
        return (self.wanted,) if sample.desirable else (-self.unwanted,)

    def is_constant(self, sample: TokenisedSample) -> bool:
        """Says whether both sides are equal and weigh the same."""
        pair = len(sample.continuations) == 2 and sample.continuations[0] == sample.continuations[1]
        return pair and self.wanted == self.unwanted


@dataclass(frozen=True)
class FadingPenalty:
    """EXMATE: -log π̄(y+) + λ π̄(y-), π̄ the geometric mean over tokens, and DPO's gradient beside it.

    The gradient of the penalty is λ π̄(y-) times that of log π̄(y-).
    """

    penalty: float
    """λ."""
    margin: float = 0.0
    """Of the DPO term: its weight times β/2."""
    prompt_in_loss: bool = False
    continuations: int = 2
    needs_log_probs: bool = True

    def weights(self, sample: TokenisedSample, mean_log_probs: Sequence[float]) -> tuple[float, ...]:
        """Returns the weights of both sides."""
        chosen, rejected = (len(continuation) for continuation in sample.continuations)
        fading = self.penalty * math.exp(mean_log_probs[1])
        return (1.0 / chosen + self.margin, -fading / rejected - self.margin)

    def is_constant(self, sample: TokenisedSample) -> bool:
        """Says no: even of two equal sides, one weighs less."""
        return False


def sample_loss(method: RepairMethod) -> SampleLoss:
    """Returns the loss of a method at its base model.

    Raises:
      NotCarriedOut: not DAPT, DPO, KTO or EXMATE; the others have the gradient of DAPT at the base model, see
        `core.scoring.scored_method`.
    """
    match method.objective:
        case DaptMethod():
            return MeanLikelihood(method.prompt_in_loss)
        case DpoMethod(beta=beta, label_smoothing=smoothing):
            weight = (1 - 2 * smoothing) * beta / 2
            return Margin(weight, weight)
        case KtoMethod(beta=beta, desirable_weight=wanted, undesirable_weight=unwanted):
            return Margin(wanted * beta / 4, unwanted * beta / 4)
        case ExmateMethod(penalty_weight=penalty, dpo_weight=weight, beta=beta):
            return FadingPenalty(penalty, weight * beta / 2)
        case other:
            name = type(other).__name__
            raise NotCarriedOut(f"gradients are scored for DAPT, DPO, KTO and EXMATE, not for {name}", method=name)
