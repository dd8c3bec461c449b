"""Weights of which each rank holds a part: FSDP2, transformer layer by transformer layer.

A layer is put together for its forward and its backward pass and taken apart again, and its gradient is added up over
the ranks as it comes. Everything that leaves a run is whole: the functions here turn parts into whole tensors and back,
and leave whole ones as they are, so that a checkpoint does not tell how many ranks wrote it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from llm_repair.models.training.ranks import Ranks

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates torch.distributed in part only.


def shard(readout: nn.Module, layers: Iterable[nn.Module], ranks: Ranks) -> None:
    """Leaves this rank its part of the weights, on its device; the model must be reached through its readout now.

    The readout is the outermost module, because the output head is used by it and not by the model's own forward.
    Parameters become others under the same names.
    """
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    # The outermost too: kept together after a forward pass, it would miss a change of weights before the next one.
    for module in (*layers, readout):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        assert isinstance(module, FSDPModule)
        # Losses are divided by what the batch has, so gradients are added up; gloo knows no other sum than a plain one.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)


def whole(value: Tensor) -> Tensor:
    """Returns a tensor whole; of one in parts all ranks must ask for it together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(owner: Tensor, value: Tensor) -> Tensor:
    """Returns a copy of a whole tensor on the device of another, in parts if that is."""
    moved = value.to(owner.device, copy=True)
    if not isinstance(owner, DTensor):
        return moved
    # Every rank has read it whole, so none needs to send it.
    return distribute_tensor(moved, owner.device_mesh, owner.placements, src_data_rank=None)


@contextmanager
@torch.no_grad()
def replaced(module: nn.Module, weights: Mapping[str, Tensor]) -> Generator[None]:
    """Puts other values, in parts, into the parameters of these names, and the present ones back in the end.

    The storage stays, because FSDP gathers from it.
    """
    parts = {name: _part(module.get_parameter(name)) for name in weights}
    before = {name: part.clone() for name, part in parts.items()}
    try:
        for name, part in parts.items():
            part.copy_(_part(weights[name]))
        yield
    finally:
        for name, part in parts.items():
            part.copy_(before[name])


def _part(value: Tensor) -> Tensor:
    assert isinstance(value, DTensor)
    return value.to_local().detach()
