"""What a repair did to the weights: compared with the base model, and saved in its form."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from llm_repair.core.errors import AdapterNotApplied

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers and safetensors are annotated in part only.

_NOT_COPIED = ("*.safetensors", "*.safetensors.index.json", "README.md", "repair.json")
"""Files of the base folder that say something about its weights; the card and lineage are written anew."""


_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Number formats of weights in safetensors; a model with others is refused when it is imported."""


@dataclass(frozen=True)
class WeightChange:
    """How far the repaired weights are from the base, after rounding to the base's number format."""

    changed_tensors: int
    tensors: int
    max_abs_change: float
    """NaN or infinite where a repaired weight is, and the base's is not."""


@torch.no_grad()
def weight_change(repaired: PreTrainedModel, base: PreTrainedModel) -> WeightChange:
    """Compares two models of one architecture, tensor by tensor; tied tensors count once.

    Raises:
      AdapterNotApplied: no weight differs.
    """
    before = dict(base.named_parameters())
    largest = torch.stack([_largest_change(value, before[name]) for name, value in repaired.named_parameters()])
    changed = int((largest != 0).sum())
    if changed == 0:
        raise AdapterNotApplied()
    return WeightChange(changed, len(largest), float(largest.max()))


def _largest_change(repaired: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Returns the largest absolute difference, (); what is no number in both, as rows nobody uses, is equal."""
    differences = (repaired.float() - base.float()).abs()
    largest = differences.max()
    if largest.isfinite():
        return largest
    equal = (repaired == base) | (repaired.isnan() & base.isnan())
    return differences.masked_fill_(equal, 0.0).max()


def stored_dtype(folder: Path) -> torch.dtype:
    """Returns the number format of a folder's weights; the widest where tensors differ."""
    found: set[torch.dtype] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            found |= {_DTYPES[tensors.get_slice(name).get_dtype()] for name in tensors.keys()}  # noqa: SIM118
    return max(found, key=lambda dtype: dtype.itemsize)


@torch.no_grad()
def save_folder(model: PreTrainedModel, base_folder: Path, folder: Path) -> None:
    """Writes a standard Hugging Face folder: safetensors, and every other file as the base has it, byte for byte."""
    model.save_pretrained(folder)
    for path in sorted(base_folder.rglob("*")):
        name = path.relative_to(base_folder)
        if path.is_file() and not any(name.match(pattern) for pattern in _NOT_COPIED):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
