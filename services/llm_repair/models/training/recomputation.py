"""Gradient checkpointing: activations are recomputed in the backward pass instead of being kept."""

from __future__ import annotations

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from llm_repair.core.errors import ModelInvalid

# pyright: reportUnknownMemberType=false
# transformers builds its models from untyped attributes.


def recompute_activations(model: PreTrainedModel) -> None:
    """Keeps only the input of each transformer layer for the backward pass; losses and gradients stay the same.

    A layer recomputes in training mode only, which would also switch its dropout on. So the layers themselves are put
    in that mode, and everything inside them stays in evaluation mode, where the dropouts are.

    Raises:
      ModelInvalid: the architecture has no layers that can.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers or not model.supports_gradient_checkpointing:
        kind = str(model.config.model_type)
        raise ModelInvalid(f"a {kind} model cannot recompute its activations", model_type=kind)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for layer in layers:
        layer.training = True
