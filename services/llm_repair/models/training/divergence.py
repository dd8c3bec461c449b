"""How far a model has moved from its reference on texts: the KL term of the repair methods that have one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llm_repair.core.execution import StepContext
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.faults import require_finite
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.objectives import kl_divergence
from llm_repair.models.training.ranks import ALONE, Ranks
from llm_repair.models.training.reference import ReferenceModel

LOGITS_COPIES = 2
"""How many times the logits of a part are held, compared with the summing of log-probabilities: two models have
them."""


class Divergence:
    """The mean of KL(P_ref ‖ P) over the tokens of texts, in parts that fit in memory."""

    def __init__(
        self,
        log_probs: LogProbs,
        reference: ReferenceModel,
        context: StepContext,
        *,
        weight: float,
        ranks: Ranks = ALONE,
    ) -> None:
        """weight: of the divergence in the loss, for its gradient."""
        self._log_probs = log_probs
        self._reference = reference
        self._context = context
        self._weight = weight
        self._ranks = ranks

    def over(self, texts: Sequence[TokenisedSample], step: int) -> float:
        """Returns the divergence in nats per token; where gradients are on, adds the gradient of the weighed one.

        Exactly 0 in fp32 as long as the model is the reference.

        Raises:
          LossNotFinite: it is NaN or infinite; carries the step.
        """
        tokens, total = sum(self._log_probs.learnt_tokens(text) for text in texts), 0.0
        held_out = not torch.is_grad_enabled()
        for part in self._log_probs.shares(texts, self._context, copies=LOGITS_COPIES):
            reference = self._reference.logits(part.samples, repeated=held_out)
            logits, batch = self._log_probs.logits(part.samples, repeated=held_out)
            mean = part.weight * kl_divergence(reference, logits).sum() / tokens
            require_finite(mean.item(), step, "divergence on utility texts")
            if torch.is_grad_enabled():
                torch.autograd.backward(self._weight * mean)
            total += mean.item()
            self._context.count(tokens=2 * batch.tokens * part.weight)
        return self._ranks.totals([total])[0]
