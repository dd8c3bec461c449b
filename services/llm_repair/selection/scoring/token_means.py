"""Scores that are the mean of something of every learnt token, by one forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from llm_repair.core.execution import StepContext
from llm_repair.core.repair import Precision, RepairMethod
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.selection.scoring.samples import map_batches
from llm_repair.selection.shards import Shards

FloatArray = npt.NDArray[np.float64]
OfTokens = Callable[[Tensor, Tensor], Tensor]
"""Of logits (tokens, vocab) and targets (tokens,), one number a token."""


def token_means(
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    method: RepairMethod,
    of_tokens: OfTokens,
    *,
    context: StepContext,
    shards: Shards,
) -> FloatArray:
    """Returns the mean over the learnt tokens of each sample, (samples,).

    samples: at least one, each with the chosen continuation only.
    """
    half = method.precision is Precision.BFLOAT16
    log_probs = LogProbs(model, samples, prompt_in_loss=method.prompt_in_loss, half=half)
    order = sorted(range(len(samples)), key=lambda place: (-samples[place].tokens, samples[place].id))
    lengths = [len(part) for part in log_probs.parts([samples[place] for place in order])]
    ends = list(itertools.accumulate(lengths))
    batches = [order[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def of_batch(batch: Sequence[TokenisedSample]) -> FloatArray:
        made = _means(log_probs, batch, of_tokens)
        if np.isfinite(made).all():
            return made
        # Samples that share a row may share what is not finite; each by itself tells whose it is.
        return np.concatenate([_means(log_probs, [sample], of_tokens) for sample in batch])

    values: FloatArray = np.empty(len(samples))
    for batch, made in zip(batches, map_batches(samples, batches, of_batch, context, shards), strict=True):
        values[batch] = made
    return values


@torch.no_grad()
def _means(log_probs: LogProbs, batch: Sequence[TokenisedSample], of_tokens: OfTokens) -> FloatArray:
    logits, layout = log_probs.logits(batch)
    found = of_tokens(logits, layout.targets).double()
    sums = found.new_zeros(layout.sequences).index_add_(0, layout.owners, found)
    return (sums / torch.bincount(layout.owners, minlength=layout.sequences)).cpu().numpy()
