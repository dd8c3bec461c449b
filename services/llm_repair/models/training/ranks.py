"""The ranks of a training: processes that learn each batch together, every one on a device of its own.

A rank learns its share of a batch, and what the shares come to is added up: a loss is a sum over samples divided by
what the whole batch has of tokens or samples, so the sum over the ranks is the loss that one rank would have found,
within rounding, however unevenly the batch was dealt.

Gradients are added up after the last micro-batch, bucket by bucket, and not by DistributedDataParallel: that wants one
set of trained parameters for the whole run, where IRepair has another at each step; it wants every pass to go through
its own forward, where the reference model reads other weights; and it divides by the ranks. On processors both cost the
same, 187 ms of processor time for a step of 10 million parameters. On GPUs it can hide what it sends behind the
backward pass of the last micro-batch, which saves at most the shorter of the two.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llm_repair.core.errors import FieldViolation, InvalidFields, StepCancelled
from llm_repair.core.execution import RankPlace, StepContext
from llm_repair.core.repair import Sharding

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates torch.distributed in part only.

T = TypeVar("T")

BUCKET_BYTES: Final = 25 << 20
"""Gradients that travel together: as many bytes as in DistributedDataParallel."""
_SILENCE: Final = datetime.timedelta(hours=2)
"""A rank may wait so long for another, which may be writing a checkpoint; whoever started them sees when one dies."""


@dataclass(frozen=True)
class Ranks:
    """All ranks of a training, seen from one of them; by default the only one, which agrees with itself at no cost.

    Every method must be called by all ranks, in the same order.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")
    """Where this rank computes."""
    sharding: Sharding = Sharding.DDP

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes and tells."""
        return self.rank == 0

    @property
    def shards(self) -> bool:
        """Whether each rank holds a part of the weights only."""
        return self.count > 1 and self.sharding is Sharding.FSDP

    def raise_if_cancelled(self, context: StepContext) -> None:
        """Raises `StepCancelled` on all ranks once it is cancelled on one."""
        if self.count == 1:
            context.raise_if_cancelled()
            return
        try:
            context.raise_if_cancelled()
            cancelled = 0.0
        except StepCancelled:
            cancelled = 1.0
        if sum(self.totals([cancelled])):
            raise StepCancelled

    def totals(self, values: Sequence[float]) -> list[float]:
        """Returns the sum of each value over the ranks."""
        if self.count == 1:
            return list(values)
        # In main memory, so that no device is waited for.
        return self.total(torch.tensor(values, dtype=torch.float64)).tolist()

    def total(self, values: Tensor) -> Tensor:
        """Returns the sum of a tensor over the ranks, in the place of what it was."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def everyones(self, value: T) -> list[T]:
        """Returns what each rank has, by rank."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        dist.all_gather_object(found, value)
        return found  # pyright: ignore[reportReturnType] - filled by now

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the ranks; those of sharded weights are sums already.

        Which parameters have one must be the same on all ranks.
        """
        if self.count == 1 or self.shards:
            return
        for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
            flat = self.total(torch.cat([gradient.flatten() for gradient in bucket]))
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


def _buckets(gradients: Sequence[Tensor]) -> Generator[list[Tensor]]:
    bucket, size = list[Tensor](), 0
    for gradient in gradients:
        bucket.append(gradient)
        size += gradient.nbytes
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


ALONE: Final = Ranks()
"""The one rank of a run that has no others."""


def own_device(rank: int = 0) -> torch.device:
    """Returns the device of a rank: the GPU of its number, or the processors on a machine without one."""
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")


def require_devices(ranks: int) -> None:
    """Refuses more ranks than there are devices: GPUs, or on a machine without one processors.

    Raises:
      InvalidFields: names the field.
    """
    gpus = torch.cuda.device_count()
    devices, kind = (gpus, "GPU") if gpus else (len(os.sched_getaffinity(0)), "processor")
    if ranks > devices:
        message = f"must be at most {devices}: each rank needs a {kind} of its own, and the trainer has no more"
        raise InvalidFields([FieldViolation("method.parallelism.ranks", message)])


@contextmanager
def joined(place: RankPlace, sharding: Sharding) -> Generator[Ranks]:
    """Meets the other ranks; what is in main memory travels by gloo, what is on GPUs by NCCL.

    A rank that fails stays connected: the others would fail by its leaving before anybody had heard why it did.
    """
    device = own_device(place.rank)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        # A file needs no port, and so nobody else can come first.
        store=dist.FileStore(str(place.meeting), place.ranks),  # pyright: ignore[reportPrivateImportUsage]
        rank=place.rank,
        world_size=place.ranks,
        timeout=_SILENCE,
        device_id=device if on_gpu else None,
    )
    yield Ranks(place.rank, place.ranks, device, sharding)
    dist.destroy_process_group()
