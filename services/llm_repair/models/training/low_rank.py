"""Adapters that add to the output of the layer below them where it lies, instead of to copies of it."""

from __future__ import annotations

from typing import Any

from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from transformers import PreTrainedModel

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# peft builds its layers from untyped attributes.


def add_in_place(model: PreTrainedModel) -> None:
    """Spares three copies of the output of every layer with an adapter: those of B A x, of its multiple, of the sum.

    The numbers are those of peft within rounding; names, saving and merging of the adapters stay as they are.
    """
    for module in model.modules():
        if type(module) is Linear and not module.lora_variant:
            module.__class__ = _InPlaceLinear


class _InPlaceLinear(Linear):
    """A linear layer keeps its input for the backward pass and never its output, so that may be written to."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Returns W x + s B A x, (..., width)."""
        if self.disable_adapters or self.merged:
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        up = self.lora_B[name]
        assert isinstance(up, nn.Linear)
        result: Tensor = self.get_base_layer()(x, *args, **kwargs)
        narrow = self.lora_A[name](self.lora_dropout[name](x))
        widened = up.weight.t().to(result.dtype)  # autocast leaves products in place alone
        result.view(-1, result.shape[-1]).addmm_(narrow.flatten(0, -2), widened, alpha=self.scaling[name])
        return result
