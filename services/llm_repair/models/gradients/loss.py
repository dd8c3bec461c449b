"""The loss whose per-sample gradient is meant, as weights of token losses.

At the model that is scored, the gradient of every loss here is that of a weighted sum of negative log-likelihoods,
one weight a continuation. That is all a gradient norm needs to know of a repair method.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.errors import NotCarriedOut
from llm_repair.core.repair import DaptMethod, DpoMethod, RepairMethod
from llm_repair.models.training.batches import TokenisedSample


@dataclass(frozen=True)
class SampleLoss:
    """What the loss of one sample weighs.

    DAPT: the mean negative log-likelihood of the learnt tokens of the chosen continuation, which is what training
    minimises on a batch of this sample alone. DPO: at its own reference the argument of the sigmoid is 0, so the
    gradient is (1 - 2ε) β/2 times that of log π(y-) - log π(y+), summed over tokens (Rafailov et al., eq. 7).
    """

    continuations: int
    """1 for the chosen one, 2 for the pair."""
    prompt_in_loss: bool
    """Whether the prompt's tokens are learnt too; never for pairs, where they cancel."""
    pair_weight: float = 0.0
    """(1 - 2ε) β/2."""

    def weights(self, sample: TokenisedSample) -> tuple[float, ...]:
        """Returns the weight of the summed negative log-likelihood of each continuation."""
        if self.continuations == 2:
            return (self.pair_weight, -self.pair_weight)
        return (1.0 / self.learnt_tokens(sample),)

    def is_constant(self, sample: TokenisedSample) -> bool:
        """Says whether the loss is the same at every model: that of a pair of equal continuations."""
        return self.continuations == 2 and sample.continuations[0] == sample.continuations[1]

    def learnt_tokens(self, sample: TokenisedSample) -> int:
        """Returns how many tokens are predicted, over all continuations; at least one each."""
        prompt = len(sample.prompt) - 1 if self.prompt_in_loss else 0
        return sum(prompt + len(continuation) for continuation in sample.continuations)


def sample_loss(method: RepairMethod) -> SampleLoss:
    """Returns the loss of a method at its base model.

    Raises:
      NotCarriedOut: neither DAPT nor DPO; others have the gradient of one of them at the base model, see
        `core.scoring.scored_method`.
    """
    match method.objective:
        case DaptMethod():
            return SampleLoss(1, method.prompt_in_loss)
        case DpoMethod(beta=beta, label_smoothing=smoothing):
            return SampleLoss(2, prompt_in_loss=False, pair_weight=(1 - 2 * smoothing) * beta / 2)
        case other:
            name = type(other).__name__
            raise NotCarriedOut(f"gradients are scored for DAPT and DPO, not for {name}", method=name)
