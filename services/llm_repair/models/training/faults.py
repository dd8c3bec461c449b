"""What ends a training run: tokens not to be learnt, no finite numbers, exploding gradients, too little space."""

from __future__ import annotations

import errno
import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from safetensors import SafetensorError

from llm_repair.core.errors import (
    DatasetInvalid,
    GradientExploded,
    LossNotFinite,
    ModelInvalid,
    OutOfMemory,
    StorageFull,
)
from llm_repair.core.repair import RepairMethod
from llm_repair.models.training.batches import NAMED_IDS, TokenisedSample

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def require_learnt_tokens(samples: Sequence[TokenisedSample]) -> None:
    """Refuses samples without a token to learn, of which a mean cannot be taken.

    Raises:
      DatasetInvalid: names the first of them.
    """
    masked = [sample.id for sample in samples if not all(sample.continuations)]
    if masked:
        named = masked[:NAMED_IDS]
        message = f"{len(masked)} samples have no token to learn; the first are {', '.join(named)}"
        raise DatasetInvalid(message, count=len(masked), ids=",".join(named))


def require_known_tokens(samples: Iterable[TokenisedSample], vocabulary: int) -> None:
    """Refuses a tokenizer that makes tokens for which the model has no embedding.

    vocabulary: how many the model has.

    Raises:
      ModelInvalid: carries the largest token met and the number of embeddings.
    """
    largest = max(max(map(max, (sample.prompt, *sample.continuations))) for sample in samples)
    if largest >= vocabulary:
        message = f"the tokenizer makes token {largest}, but the model has embeddings for {vocabulary} tokens only"
        raise ModelInvalid(message, token=largest, vocabulary=vocabulary)


def require_finite(value: float, step: int, what: str) -> None:
    """Refuses NaN and infinity.

    Raises:
      LossNotFinite: carries the optimizer step.
    """
    if not math.isfinite(value):
        raise LossNotFinite(f"the {what} is not finite at optimizer step {step}; nothing was published", step=step)


def require_no_explosion(norms: Sequence[float], method: RepairMethod, step: int) -> None:
    """Refuses gradients that have been too large for too many steps in a row.

    norms: of the gradients before clipping, the newest last; at least `explosion_steps` of them where there have been
    so many steps.

    Raises:
      GradientExploded: carries the optimizer step.
    """
    bound = method.explosion_ratio * method.clip_norm
    newest = norms[-method.explosion_steps :]
    if len(newest) == method.explosion_steps and min(newest) > bound:
        message = (
            f"the gradient norm was above {bound:g} at {method.explosion_steps} optimizer steps in a row, up to step "
            f"{step}; nothing was published"
        )
        raise GradientExploded(message, step=step, steps=method.explosion_steps, bound=f"{bound:g}")


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an error means that memory ran out: torch has no class of its own for that on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


@contextmanager
def out_of_memory_named(step: int) -> Generator[None]:
    """Turns an allocator's error into one with a reason.

    step: the optimizer step being taken; 0 before the first.

    Raises:
      OutOfMemory: carries the optimizer step.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"memory ran out at optimizer step {step}; nothing was published", step=step) from error


@contextmanager
def full_disk_named(what: str) -> Generator[None]:
    """Turns the failure of a write into an error with a reason where the working folder is full.

    Raises:
      StorageFull: says that it was `what` which found no space.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors has only the text of the system's error.
        numbers = {getattr(error, "errno", None), *(n for n in _NO_SPACE if f"(os error {n})" in str(error))}
        if numbers.isdisjoint(_NO_SPACE):
            raise
        message = f"the folder for temporary files has no space left for {what}; nothing half-written was kept"
        raise StorageFull(message, what=what) from error
