"""The plain way to a per-sample gradient norm: one backward pass a sample. Exact for every architecture, and slow."""

from __future__ import annotations

import math

import torch

from llm_repair.core.errors import ModelInvalid
from llm_repair.models.gradients.loss import SampleLoss
from llm_repair.models.training.adapters import TrainableModel
from llm_repair.models.training.batches import TokenisedSample, padded_batch
from llm_repair.models.training.log_probs import continuation_log_probs

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its norms in part only.


def looped_norm(
    target: TrainableModel, sample: TokenisedSample, loss: SampleLoss, *, gathered: bool, half: bool
) -> float:
    """Returns the l2 norm of the gradient of one sample over all trained parameters.

    gathered: as `continuation_log_probs` takes it. half: bf16 autocast; gradients and norm are fp32 all the same.

    Raises:
      ModelInvalid: nothing that is trained takes part in the loss.
    """
    batch = padded_batch([sample], prompt_in_loss=loss.prompt_in_loss).to(target.model.device)
    with torch.enable_grad():
        with torch.autocast(target.model.device.type, dtype=torch.bfloat16, enabled=half):
            log_probs = continuation_log_probs(target.model, batch, gathered=gathered)
        value = -(log_probs * log_probs.new_tensor(loss.weights(sample))).sum()
    if not value.requires_grad:
        raise ModelInvalid("the loss of this model does not depend on any trained parameter", field="method.trainable")
    gradients = torch.autograd.grad(value, list(target.parameters.values()), materialize_grads=True)
    norms = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in gradients]
    return math.sqrt(math.fsum(norm * norm for norm in norms))
