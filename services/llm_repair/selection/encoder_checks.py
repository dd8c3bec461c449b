"""Checks of an encoder folder, done before any library opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from llm_repair.artifacts.model_config import check_modules, read_json
from llm_repair.artifacts.model_files import FileUse, has_tokenizer, use_of
from llm_repair.core.errors import ModelInvalid, UnsafeModel
from llm_repair.core.references import ModelRole

MODULES: Final = frozenset({"Transformer", "Pooling", "Normalize", "Dense"})
"""Parts an encoder may be made of; `modules.json` names classes, and no others are ever imported."""

FIELD: Final = "encoder"
"""Of a request, whatever in the folder is at fault."""

_ACTIVATIONS: Final = ("torch.nn.modules.activation.", "torch.nn.modules.linear.Identity")
"""What a Dense module may apply; its configuration names a class, and for any other the library silently takes tanh."""


def check_encoder(folder: Path) -> None:
    """Checks that the folder is an encoder of known modules with safetensors weights only.

    Raises:
      ModelInvalid: not a sentence-transformers folder, or one without a tokenizer.
      UnsafeModel: pickles or code, a module outside `MODULES`, or an activation that torch does not have.
    """
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if place.is_file() and use_of(name, ModelRole.ENCODER) is FileUse.REFUSE:
            raise UnsafeModel(f"the encoder folder holds {place.name}, which is never loaded", file=name)
    if not (folder / "modules.json").is_file():
        raise ModelInvalid(
            "the encoder folder has no modules.json, so it is not one of sentence-transformers", field=FIELD
        )
    modules = read_json(folder / "modules.json")
    check_modules(modules)
    entries = cast("list[dict[str, str]]", modules)
    names = [entry["type"].rpartition(".")[2] for entry in entries]
    for entry, name in zip(entries, names, strict=True):
        if name not in MODULES:
            raise UnsafeModel(
                f"the encoder is made of a module that is not loaded: {name[:200]}", field="modules.json", module=name
            )
        if name == "Transformer":
            _check_tokenizer(folder / entry["path"])
        if name == "Dense":
            _check_activation(folder / entry["path"] / "config.json")


def _check_tokenizer(folder: Path) -> None:
    # transformers makes an empty one where there is none, to which every word is unknown.
    if not has_tokenizer(frozenset(file.name for file in folder.glob("*"))):
        raise ModelInvalid("the encoder folder has no tokenizer", field=FIELD)


def _check_activation(file: Path) -> None:
    if not file.is_file():
        raise ModelInvalid("a Dense module of the encoder has no config.json", field=FIELD)
    document = read_json(file)
    if not isinstance(document, dict):
        raise ModelInvalid("the config.json of a Dense module is not an object", field=FIELD)
    activation = cast("dict[str, Any]", document).get("activation_function")
    if activation is not None and not str(activation).startswith(_ACTIVATIONS):
        raise UnsafeModel("a Dense module names an activation that torch does not have", field="activation_function")
