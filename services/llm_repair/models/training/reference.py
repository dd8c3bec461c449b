"""The model before training, without a second copy of it in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llm_repair.core.execution import StepContext
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.faults import require_finite
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.ranks import ALONE, Ranks


class ReferenceModel:
    """The model as it was: only the trained parameters are kept twice, those from before training put in for a pass.

    Its numbers are those of a frozen copy to the bit, because the same kernels read the same values. Adapters start
    at zero, so with them the reference is the base model itself.
    """

    def __init__(self, target: TrainableModel, log_probs: LogProbs) -> None:
        """Keeps the parameters that will be trained; must come before the first step and before a resume."""
        self._weights = {name: value.detach().clone() for name, value in target.parameters.items()}
        self._log_probs = log_probs

    def of(self, samples: Sequence[TokenisedSample], *, repeated: bool = False) -> tuple[Tensor, int]:
        """Returns log p of each continuation, (samples, continuations), and the number of tokens read.

        repeated: as in `LogProbs.of`.
        """
        with torch.no_grad():
            return self._log_probs.of(samples, weights=self._weights, repeated=repeated)

    def logits(self, samples: Sequence[TokenisedSample], *, repeated: bool = False) -> Tensor:
        """Returns the logits behind every counted token, (predictions, vocab), as `LogProbs.logits` orders them.

        repeated: as there.
        """
        with torch.no_grad():
            return self._log_probs.logits(samples, weights=self._weights, repeated=repeated)[0]


@torch.no_grad()
def measured(
    log_probs: LogProbs,
    samples: Sequence[TokenisedSample],
    context: StepContext,
    *,
    repeated: bool = False,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Returns the log-probabilities of samples at the present weights, (samples, continuations), in main memory.

    For samples that are met again and again, this before training is cheaper than a reference model during it.
    repeated: as in `LogProbs.of`.

    Raises:
      LossNotFinite: one is NaN or infinite; carries step 0.
    """
    stage = "reference of held-out samples" if repeated else "reference"
    rows = torch.zeros(len(samples), len(samples[0].continuations))
    done = 0
    for part in log_probs.shares(samples, context):
        found, tokens = log_probs.of(part.samples, repeated=repeated)
        require_finite(float(found.sum()), 0, "log-probability before training")
        if not part.counts:
            continue
        rows[part.places] = found.cpu()
        done += len(part.samples) * ranks.count
        context.count(tokens=tokens)
        context.progress(min(done, len(samples)), len(samples), "samples", stage=stage)
    return ranks.total(rows)
