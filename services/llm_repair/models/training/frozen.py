"""The frozen layers below the lowest trained one: what they make of a batch never changes, so once is enough."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from torch import Tensor, nn

from llm_repair.models.training.adapters import TrainableModel, transformer_layers

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers builds its models from untyped attributes.

KEPT_BYTES = 1 << 28
"""States kept at most; batches beyond are read anew."""

T = TypeVar("T")

_Output: TypeAlias = Tensor | tuple[Tensor, *tuple[Tensor | None, ...]]
"""Of a layer: its states, in some architectures with more that is not asked for here, such as attention weights."""


def frozen_layers(target: TrainableModel) -> Sequence[nn.Module]:
    """Returns the layers below the lowest trained one, from the input up; none where what is below them is trained."""
    layers = transformer_layers(target.model)
    trained = set(target.parameters.values())
    lowest = next((place for place, layer in enumerate(layers) if trained & set(layer.parameters())), 0)
    above = {parameter for layer in layers[lowest:] for parameter in layer.parameters()}
    return [*layers[:lowest]] if trained <= above else []


class FrozenLayers:
    """Keeps what frozen layers make of batches that are read again and again, such as those held out.

    A batch is read with the kernels and in the shapes of the first time, so its numbers are the same to the bit.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        """layers: those that are frozen, from the input up; each returns its states, or them first."""
        self._layers = layers
        self._kept: dict[Hashable, _Output] = {}
        self._bytes = 0

    def passed_once(self, batch: Hashable, read: Callable[[], T]) -> T:
        """Returns what `read` makes of a batch, which goes through the frozen layers at the first time only."""
        if not self._layers:
            return read()
        if batch in self._kept:
            with self._standing_in(self._kept[batch]):
                return read()
        with self._keeping(batch):
            return read()

    def forget(self) -> None:
        """Drops everything that is kept."""
        self._kept.clear()
        self._bytes = 0

    @contextmanager
    def _keeping(self, batch: Hashable) -> Generator[None]:
        def keep(layer: nn.Module, inputs: object, output: _Output) -> None:
            states = output if isinstance(output, Tensor) else output[0]
            if self._bytes + states.nbytes <= KEPT_BYTES:
                self._bytes += states.nbytes
                self._kept[batch] = states if isinstance(output, Tensor) else (states, *[None] * (len(output) - 1))

        handle = self._layers[-1].register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _standing_in(self, output: _Output) -> Generator[None]:
        def forward(*inputs: object, **options: object) -> _Output:
            return output

        for layer in self._layers:
            layer.forward = forward
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.forward
