"""Configuration of models: which keys of `config.json` a library ever gets to see.

Libraries have fetched and run code because of a key of this file even with remote code switched off
(CVE-2026-4372), so it is parsed here first. Keys the architecture's own class does not declare are dropped.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from llm_repair.artifacts.strict_json import loads_strict
from llm_repair.core.errors import ModelInvalid, UnsafeModel

MAX_JSON_BYTES = 128 * 2**20
"""Of one JSON file of a model folder; large tokenizers have about 35 MB."""

_REFUSED_KEYS = frozenset(
    {"auto_map", "trust_remote_code", "custom_pipelines", "custom_generate", "code_revision", "remote_code"}
)
_DROPPED_KEYS = frozenset({"_name_or_path", "_commit_hash", "_attn_implementation_autoset", "transformers_version"})
_VOCABULARIES = frozenset({"vocab.json", "tokenizer.json", "added_tokens.json"})
_MODULE_PREFIX = "sentence_transformers."


def read_json(path: Path) -> Any:
    """Reads a JSON file of a model folder and refuses keys that can name code, at any depth.

    Raises:
      UnsafeModel: such a key, or no strict JSON.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UnsafeModel("a JSON file of the model folder is oversize", file=path.name)
    try:
        document = loads_strict(path.read_bytes())
        # A vocabulary may hold any word, so the names in it say nothing.
        keys = set[str]() if path.name in _VOCABULARIES else set(_keys(document))
    except (ValueError, RecursionError) as error:
        raise UnsafeModel("a JSON file of the model folder is not strict JSON", file=path.name) from error
    refused = sorted(key for key in keys if key in _REFUSED_KEYS or _names_kernel(key))
    if refused:
        raise UnsafeModel(
            f"{path.name} has keys that can name code: {', '.join(refused)}", file=path.name, keys=",".join(refused)
        )
    return document


def check_modules(modules: Any) -> None:
    """Checks `modules.json` of a sentence-transformers folder, whose types are imported by dotted path.

    Raises:
      UnsafeModel: a type outside sentence-transformers, or a path that leaves the folder.
    """
    entries = cast("list[Any]", modules) if isinstance(modules, list) else [None]
    for entry in entries:
        module = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        kind, path = module.get("type"), module.get("path")
        if not isinstance(kind, str) or not isinstance(path, str) or not kind.startswith(_MODULE_PREFIX):
            raise UnsafeModel("modules.json names a module that is not part of sentence-transformers")
        if path.startswith("/") or ".." in path.split("/"):
            raise UnsafeModel("modules.json names a path outside the folder")


def known_config(config: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns the configuration with only the keys its architecture declares, and the names of those dropped.

    Imports transformers, which sees the name of the architecture and nothing else of the configuration.

    Raises:
      ModelInvalid: no configuration, an architecture transformers does not have, or quantised weights.
    """
    if not isinstance(config, dict):
        raise ModelInvalid("config.json is not an object")
    members = cast("dict[str, Any]", config)
    model_type = members.get("model_type")
    if members.get("quantization_config"):
        raise ModelInvalid("the weights are quantised; a model is repaired in floating point")
    allowed = _declared_keys(model_type)
    kept = {key: value for key, value in members.items() if key in allowed and key not in _DROPPED_KEYS}
    return kept, sorted(set(members) - set(kept))


def generates_text(model_type: str) -> bool:
    """Tells whether transformers has a causal language model of this architecture."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _declared_keys(model_type: Any) -> set[str]:
    from transformers import PreTrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ModelInvalid("config.json names no architecture that transformers itself has", model_type=model_type)
    config_class: Any = CONFIG_MAPPING[model_type]
    declared = {"model_type", "architectures", "torch_dtype", "dtype", "rope_theta", "rope_scaling", "rope_parameters"}
    for place in (config_class, PreTrainedConfig):
        declared |= set(inspect.signature(place.__init__).parameters)
        declared |= {name for base in place.__mro__ for name in vars(base).get("__annotations__", {})}
        declared |= set(getattr(place, "attribute_map", {}))
    return {key for key in declared if not key.startswith("_")} - {"self", "kwargs", "args"}


def _names_kernel(key: str) -> bool:
    return key.endswith("_implementation_internal") or ("kernel" in key.lower() and "hub" in key.lower())


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _keys(item)
