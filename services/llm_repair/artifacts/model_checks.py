"""Checks of a model folder, done before any library opens a file of it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_repair.artifacts.catalogue import DETOXIFY_SHA256_STARTS, pinned_judge_files
from llm_repair.artifacts.digests import digest_of_file
from llm_repair.artifacts.model_config import check_modules, generates_text, known_config, read_json
from llm_repair.artifacts.model_files import FileUse, has_tokenizer, needs_pin, use_of
from llm_repair.artifacts.safetensors_headers import tensor_shapes
from llm_repair.core.errors import ModelInvalid, UnsafeModel
from llm_repair.core.references import ModelRole


@dataclass(frozen=True)
class CheckedModel:
    """A model folder that may be loaded."""

    files: Mapping[str, Path]
    """Files to bring in by relative path."""
    config: Mapping[str, Any]
    """Configuration with declared keys only; empty where there is none."""
    parameters: int
    """Numbers in the weights; 0 for a judge that is not safetensors."""
    left_out: tuple[str, ...]
    dropped_keys: tuple[str, ...]


def check_model(folder: Path, role: ModelRole) -> CheckedModel:
    """Checks a model folder by content and chooses what is brought in.

    Raises:
      UnsafeModel: pickles, code, links, keys that can name code, or a weight file that is not safetensors.
      ModelInvalid: weights, configuration or tokenizer are missing, or the architecture is not known.
    """
    kept, left_out = _chosen(folder, role)
    documents = {name: read_json(file) for name, file in kept.items() if name.endswith(".json")}
    for name, document in documents.items():
        if name.endswith("modules.json"):
            check_modules(document)
    shapes = {name: tensor_shapes(file) for name, file in kept.items() if name.endswith(".safetensors")}
    _check_complete(frozenset(kept), role, documents, shapes)
    config, dropped = known_config(documents["config.json"]) if "config.json" in documents else ({}, [])
    if role is ModelRole.CAUSAL_LM and not generates_text(str(config["model_type"])):
        raise ModelInvalid("the architecture is not a causal language model", model_type=config["model_type"])
    parameters = sum(math.prod(shape) for tensors in shapes.values() for shape in tensors.values())
    return CheckedModel(kept, config, parameters, left_out, tuple(dropped))


def copy_checked(model: CheckedModel, target: Path) -> None:
    """Writes the chosen files to a new folder, the configuration with its declared keys only."""
    for name, file in model.files.items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name == "config.json":
            place.write_text(json.dumps(model.config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        else:
            shutil.move(file, place)


def _chosen(folder: Path, role: ModelRole) -> tuple[dict[str, Path], tuple[str, ...]]:
    kept: dict[str, Path] = {}
    left_out: list[str] = []
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if place.is_symlink() or not (place.is_dir() or place.is_file()):
            raise UnsafeModel("the model folder holds a link or special file", file=name)
        if place.is_dir():
            continue
        use = use_of(name, role)
        if use is FileUse.REFUSE:
            raise UnsafeModel(f"the model folder holds {json.dumps(name)}, which can carry code", file=name)
        if use is FileUse.KEEP and needs_pin(name):
            _check_pin(place, name)
        kept.update({name: place} if use is FileUse.KEEP else {})
        left_out.extend([name] if use is FileUse.LEAVE_OUT else [])
    return kept, tuple(left_out)


def _check_pin(file: Path, name: str) -> None:
    digest = digest_of_file(file)
    hex_digits = digest.removeprefix("sha256:")
    # Of one of Detoxify's releases only 8 digits are known; their loader takes tensors only.
    known = digest in pinned_judge_files() if file.suffix == ".onnx" else hex_digits.startswith(DETOXIFY_SHA256_STARTS)
    if not known:
        raise UnsafeModel(f"{json.dumps(name)} does not have a pinned sha256", file=name, digest=digest)


def _check_complete(
    names: frozenset[str], role: ModelRole, documents: Mapping[str, Any], shapes: Mapping[str, Mapping[str, object]]
) -> None:
    if role is ModelRole.JUDGE and any(name.endswith(".onnx") for name in names):
        return
    if not shapes and not any(needs_pin(name) for name in names):
        raise ModelInvalid("the folder has no safetensors weights")
    if "config.json" not in names and "modules.json" not in names:
        raise ModelInvalid("the folder has no config.json")
    if role is ModelRole.CAUSAL_LM and "config.json" not in names:
        raise ModelInvalid("the folder has no config.json")
    if role is not ModelRole.ENCODER and not has_tokenizer(names):
        raise ModelInvalid("the folder has no tokenizer")
    for index in (name for name in names if name.endswith("model.safetensors.index.json")):
        _check_shards(documents[index], shapes)


def _check_shards(index: Any, shapes: Mapping[str, Mapping[str, object]]) -> None:
    try:
        placed = {str(tensor): str(shard) for tensor, shard in index["weight_map"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelInvalid("the index of the weight files cannot be read") from error
    missing = sorted({shard for tensor, shard in placed.items() if tensor not in shapes.get(shard, {})})
    if missing:
        raise ModelInvalid("weight files are missing or incomplete", files=",".join(missing[:10]))
