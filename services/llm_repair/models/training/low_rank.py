"""Adapters that add to the output of the layer below them where it lies, instead of to copies of it."""

from __future__ import annotations

from collections.abc import Callable

from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from transformers import PreTrainedModel

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# peft builds its layers from untyped attributes.


def add_in_place(model: PreTrainedModel) -> None:
    """Spares three copies of the output of every layer with an adapter: those of B A x, of its multiple, of the sum.

    The numbers are those of peft within rounding; names, saving and merging of the adapters stay as they are. A linear
    layer keeps its input for the backward pass and never its output, so that may be written to.
    """
    for module in model.modules():
        if isinstance(module, Linear) and not module.lora_variant:
            # peft's takes more, which transformers never gives to a linear layer.
            module.forward = _in_place(module)  # pyright: ignore[reportAttributeAccessIssue]


def _in_place(layer: Linear) -> Callable[[Tensor], Tensor]:
    (name,) = layer.active_adapters
    base, dropout = layer.get_base_layer(), layer.lora_dropout[name]
    down, up = layer.lora_A[name], layer.lora_B[name]
    assert isinstance(up, nn.Linear)

    def forward(x: Tensor) -> Tensor:
        result = base(x)
        narrow = down(dropout(x))
        widened = up.weight.t().to(result.dtype)  # autocast leaves products in place alone
        result.view(-1, result.shape[-1]).addmm_(narrow.flatten(0, -2), widened, alpha=layer.scaling[name])
        return result

    return forward
