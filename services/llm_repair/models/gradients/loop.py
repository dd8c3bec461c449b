"""The plain way to a per-sample gradient norm: one backward pass a sample. Exact for every architecture, and slow."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from llm_repair.core.errors import ModelInvalid
from llm_repair.models.gradients.loss import SampleLoss
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenBatch, TokenisedSample, padded_batch

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its norms in part only.


def looped_norm(target: TrainableModel, sample: TokenisedSample, loss: SampleLoss, *, half: bool) -> float:
    """Returns the l2 norm of the gradient of one sample over all trained parameters.

    half: bf16 autocast; gradients and norm are fp32 all the same.

    Raises:
      ModelInvalid: nothing that is trained takes part in the loss, or autograd fails on the architecture.
    """
    batch = padded_batch([sample], prompt_in_loss=loss.prompt_in_loss).to(target.model.device)
    with torch.enable_grad():
        with torch.autocast(target.model.device.type, dtype=torch.bfloat16, enabled=half):
            logits = target.model(batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        predicting = logits.flatten(0, 1)[batch.sources].float()
        losses = functional.cross_entropy(predicting, batch.targets, reduction="none")
        value = (losses * losses.new_tensor(loss.weights(sample, _means(-losses.detach(), batch)))[batch.owners]).sum()
    if not value.requires_grad:
        raise ModelInvalid("the loss of this model does not depend on any trained parameter", field="method.trainable")
    try:
        gradients = torch.autograd.grad(value, list(target.parameters.values()), materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelInvalid("autograd finds no gradient of this architecture", field="model") from error
    norms = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in gradients]
    return math.sqrt(math.fsum(norm * norm for norm in norms))


def _means(log_probs: Tensor, batch: TokenBatch) -> list[float]:
    """Returns the mean of each sequence. log_probs: (predictions,)."""
    sums = log_probs.new_zeros(batch.sequences).index_add_(0, batch.owners, log_probs)
    return (sums / torch.bincount(batch.owners, minlength=batch.sequences)).tolist()
