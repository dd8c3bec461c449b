"""The encoder: a sentence-transformers folder that turns texts into vectors, in batches without much padding."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# sentence-transformers types its features as dictionaries of anything.

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer

from llm_repair.core.errors import ModelInvalid, UnsafeModel

MODULES = frozenset({"Transformer", "Pooling", "Normalize", "Dense"})
"""Parts an encoder may be made of; `modules.json` names classes, and no others are ever imported."""

CPU_BATCH_TOKENS = 4096
"""Padded tokens a batch: enough for full matrix products, small enough to stay near the caches."""
ACCELERATOR_BATCH_TOKENS = 131_072
TOKENIZED_AT_ONCE = 1024


@dataclass(frozen=True)
class TextLengths:
    """How long texts are for an encoder."""

    tokens: npt.NDArray[np.int64]
    """(n,), with special tokens and prompt, after truncation."""
    truncated: npt.NDArray[np.bool_]
    """(n,), whether the encoder sees only the beginning."""


class Encoder:
    """Embeds texts as `SentenceTransformer.encode` does, to rounding (cosine above 0.9999)."""

    def __init__(self, folder: Path) -> None:
        """Loads the encoder, on the accelerator if there is one, without network and without code of the folder.

        Raises:
          ModelInvalid: not a sentence-transformers folder, or one that cannot be loaded.
          UnsafeModel: made of modules outside `MODULES`, or with pickled weights.
        """
        check_encoder(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._model = SentenceTransformer(
                str(folder), device=self._device, local_files_only=True, trust_remote_code=False
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise ModelInvalid("the encoder folder cannot be loaded by sentence-transformers") from error
        self._prompt = self._model.prompts.get(self._model.default_prompt_name or "") or ""
        self.max_tokens: int | None = self._model.max_seq_length

    def lengths(self, texts: Sequence[str]) -> TextLengths:
        """Counts the tokens of each text."""
        counts: list[int] = []
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            prompted = [self._prompt + text for text in texts[start : start + TOKENIZED_AT_ONCE]]
            ids = self._model.tokenizer(prompted, truncation=False, padding=False, verbose=False)["input_ids"]
            counts.extend(len(one) for one in ids)
        whole = np.array(counts, dtype=np.int64)
        most = self.max_tokens or np.iinfo(np.int64).max
        return TextLengths(np.minimum(whole, most), whole > most)

    def batches(self, tokens: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Yields the positions of each batch: neighbours in length, longest first, within the padded-token limit."""
        limit = CPU_BATCH_TOKENS if self._device == "cpu" else ACCELERATOR_BATCH_TOKENS
        order = np.argsort(-tokens, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, limit // max(1, int(tokens[order[start]])))
            yield order[start : start + size]
            start += size

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeds one batch, (len(texts), d), normalised if the encoder's own last module does so."""
        features = self._model.preprocess(list(texts), prompt=self._prompt or None)
        moved = {name: value.to(self._device) if torch.is_tensor(value) else value for name, value in features.items()}
        return self._model(moved)["sentence_embedding"].float().cpu().numpy()


def check_encoder(folder: Path) -> None:
    """Raises unless the folder is an encoder of known modules with safetensors weights only."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        types = [str(module["type"]) for module in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelInvalid("the encoder folder has no readable modules.json") from error
    for type_name in types:
        package, _, name = type_name.rpartition(".")
        if package.split(".")[0] != "sentence_transformers" or name not in MODULES:
            raise UnsafeModel(f"the encoder is made of a module that is not loaded: {type_name[:200]}")
    for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.py"):
        if found := next(folder.rglob(pattern), None):
            raise UnsafeModel(f"the encoder folder holds {found.name}, which is never loaded", file=found.name)
