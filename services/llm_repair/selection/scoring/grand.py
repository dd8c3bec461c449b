"""GRAND: the l2 norm of the whole per-sample gradient of the repair loss, at the model as it is.

Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, def. 2.1: χ(x, y) = E ‖∇_w ℓ(f_w(x), y)‖₂, over several initial
weights w.

We differ:
- A pretrained model has one w, so there is no expectation. That the norm ranks samples by importance was shown for
  classifiers early in training; Kirsch (2023) could not reproduce it at initialisation.
- The loss is that of the repair method: the mean negative log-likelihood of a learnt token for DAPT, also where a KL
  term stands beside it, whose gradient is 0 at the base model, and for IREPAIR, over all blocks and not the one it
  will update; the loss of the pair for DPO, whose gradient at its reference is β/2 ∇(log π(y-) - log π(y+)), summed
  over tokens; for KTO the same with its two weights, and of an unpaired row its one side; EXMATE's with its penalty.
- The study's release adds up the norms of the parameter tensors, which is not the norm of the gradient, scores another
  text than it trains on, and skips samples that fail.

Cost: a forward pass and the activation half of a backward pass by ghost norms (`models.gradients`); exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from llm_repair.core.execution import Json, StepContext
from llm_repair.core.repair import Precision, RepairMethod
from llm_repair.models.gradients.loss import sample_loss
from llm_repair.models.gradients.norms import GradientNorms
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.selection.scoring.samples import map_batches
from llm_repair.selection.shards import Shards

FloatArray = npt.NDArray[np.float64]


def gradient_norms(
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    method: RepairMethod,
    *,
    seed: int,
    context: StepContext,
    shards: Shards,
) -> tuple[FloatArray, Mapping[str, Json]]:
    """Returns the gradient norm of each sample, (samples,), and the way they were found.

    samples: at least one, with the continuations of the method's loss. seed: of fresh adapters.

    Raises:
      ModelInvalid: no trained parameter takes part in the loss, or layers to train are not there.
    """
    target = make_trainable(model, method.trained, seed=seed)
    norms = GradientNorms(target, sample_loss(method), samples, half=method.precision is Precision.BFLOAT16)
    if norms.reason:
        context.note("gradients by one backward pass a sample", reason=norms.reason)
    batches = norms.batches(samples)
    found = map_batches(samples, batches, norms.of, context, shards)
    values: FloatArray = np.empty(len(samples))
    for batch, made in zip(batches, found, strict=True):
        values[batch] = made.values
    return values, {
        "path": norms.path,
        "path_reason": norms.reason,
        "looped": sum(made.looped for made in found),
        "parameters": sum(parameter.numel() for parameter in target.parameters.values()),
    }
