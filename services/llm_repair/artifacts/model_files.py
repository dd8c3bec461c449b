"""Which files of a model folder are brought in, left out, or make it refused; and what its weights are called by."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from llm_repair.core.execution import Artifact
from llm_repair.core.references import ModelRole


class FileUse(enum.Enum):
    """What becomes of a file of a model folder."""

    KEEP = 1
    LEAVE_OUT = 2
    """Harmless and not needed, such as a read-me; other formats of the weights too."""
    REFUSE = 3
    """Holds or can hold code: its presence means the folder is not what this system accepts."""


_KEPT = re.compile(
    r"(?:\d+_[A-Za-z]+/)?"  # parts of a sentence-transformers folder
    r"(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|modules"
    r"|sentence_bert_config|config_sentence_transformers|model\.safetensors\.index)\.json"
    r"|(?:\d+_[A-Za-z]+/)?(?:model(?:-\d{5}-of-\d{5})?\.safetensors|vocab\.txt|merges\.txt|chat_template\.jinja)"
    r"|(?:\d+_[A-Za-z]+/)?(?:tokenizer|sentencepiece\.bpe|spiece|spm)\.model"
)
_CODE_SUFFIXES = frozenset(
    {
        *(".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh"),
        *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".sav", ".mar"),
        *(".npy", ".npz", ".h5", ".keras", ".pb", ".msgpack"),
        *(".zip", ".tar", ".tgz", ".7z", ".whl", ".egg"),
    }
)
"""Code, pickles, formats that can carry either, and archives that hide what they hold."""
_JUDGE_SUFFIXES = frozenset({".onnx", ".ckpt"})
"""Accepted of a judge, and then by pinned sha256 only."""


def use_of(name: str, role: ModelRole) -> FileUse:
    """Returns what becomes of the file with this relative path."""
    suffix = PurePosixPath(name).suffix.lower()
    if role is ModelRole.JUDGE and suffix in _JUDGE_SUFFIXES:
        return FileUse.KEEP
    if suffix in _CODE_SUFFIXES:
        return FileUse.REFUSE
    return FileUse.KEEP if _KEPT.fullmatch(name) else FileUse.LEAVE_OUT


def needs_pin(name: str) -> bool:
    """Tells whether a kept file is accepted by its sha256 only."""
    return PurePosixPath(name).suffix.lower() in _JUDGE_SUFFIXES


def has_tokenizer(names: frozenset[str]) -> bool:
    """Tells whether the kept files hold a tokenizer."""
    alone = {"tokenizer.json", "tokenizer.model", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "spm.model"}
    return bool(alone & names) or {"vocab.json", "merges.txt"} <= names


def weights_digest(entries: Mapping[str, Artifact]) -> str:
    """Returns the digest of a model's weights: sha256 over lines `name digest` of its safetensors, by name.

    It does not change when a card or lineage is added, so report and gate can quote it before publishing.
    """
    lines = [f"{name} {entries[name].digest}\n" for name in sorted(entries) if name.endswith(".safetensors")]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
