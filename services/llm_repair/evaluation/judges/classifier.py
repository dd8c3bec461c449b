# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models and tokenizers are untyped.
"""Any sequence-classification folder as a judge; the score is the largest probability of its toxic labels.

A text that is longer than the classifier takes is cut to its beginning, as its tokenizer cuts. fp32 alone: matrices in
bf16 moved probabilities of a BERT-base by up to 0.04, enough to turn verdicts, and without AMX took longer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.classifier_forwards import batches, chosen_forward
from llm_repair.evaluation.judges.judge import Probabilities
from llm_repair.evaluation.judges.labels import names_a_clean_text, toxic_labels

FOREIGN_ERRORS: Final = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ImportError, RuntimeError),
    SafetensorError,
)
"""What libraries raise on a folder that is incomplete or not what it says it is."""

_LONGEST_TEXT_TOKENS: Final = 512
"""Where neither tokenizer nor model says how long a text may be."""
_NO_LIMIT: Final = 1_000_000
"""Tokenizers say "no limit" by a number beyond all lengths."""
_OFFSET_POSITIONS: Final = ("roberta", "xlm-roberta", "camembert")
_PROBES: Final = ("a", "The river runs past the old mill.", "one word after the other " * 60)
"""Texts that two forwards must agree on: short, longer, and longer than most classifiers take."""


@dataclass(frozen=True)
class LoadedClassifier:
    """A sequence classifier in fp32 with its tokenizer."""

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    """What its first outputs mean."""
    exclusive: bool
    """Whether a text has exactly one label, so that the probabilities of all add up to 1."""


class ClassifierScorer:
    """Scores by a loaded sequence classifier."""

    def __init__(
        self,
        name: str,
        digest: str,
        loaded: LoadedClassifier,
        *,
        toxic: Sequence[str] = (),
        languages: tuple[str, ...] = (),
    ) -> None:
        """Wraps a classifier, on the accelerator if there is one; `toxic` and its lack as in `toxic_labels`.

        Raises:
          JudgeUnavailable: as `toxic_labels`, or it cannot score a text.
        """
        self.name, self.digest = name, digest
        self.labels, self.languages = loaded.labels, languages
        self.toxic_labels = toxic_labels(name, loaded.labels, toxic, exclusive=loaded.exclusive)
        self._toxic = [loaded.labels.index(label) for label in self.toxic_labels]
        self._exclusive = loaded.exclusive
        self._tokenizer = loaded.tokenizer
        # Cutting is a setting of the tokenizer, so that it serves one thread at a time.
        self._tokenizing = threading.Lock()
        model = loaded.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._longest = _longest_text(model.config, loaded.tokenizer)
        try:
            probes = [ids for ids in self._encoded(_PROBES) if ids]
            self._forward = chosen_forward(model, loaded.tokenizer, probes)
        except FOREIGN_ERRORS as error:
            raise JudgeUnavailable(f"the judge {name} loads, but cannot score a text", judge=name) from error

    @property
    def forward(self) -> str:
        """Which code computes the logits: `fused` or `library`."""
        return self._forward.name

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, labels); NaN for a text of no tokens. See `Judge`."""
        encoded = self._encoded(texts)
        rows = np.full((len(texts), len(self.labels)), np.nan)
        for batch in batches([len(ids) for ids in encoded], self._forward.batch_tokens):
            logits = self._forward.logits([encoded[place] for place in batch])
            made = torch.softmax(logits, dim=-1) if self._exclusive else torch.sigmoid(logits)
            rows[batch] = made[:, : len(self.labels)].double().cpu().numpy()
        return rows

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns the largest probability among the toxic labels."""
        return probabilities[:, self._toxic].max(axis=1)

    def overflows(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Returns (texts,), whether a text has more tokens than the classifier takes."""
        found = np.zeros(len(texts), dtype=np.bool_)
        # Of ASCII no tokenizer makes more tokens than characters, so that short texts need not be read twice.
        long = [place for place, text in enumerate(texts) if not text.isascii() or 2 * len(text) > self._longest]
        found[long] = [len(ids) > self._longest for ids in self._ids([texts[place] for place in long])]
        return found

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        whole = self._ids(texts)
        long = [place for place, ids in enumerate(whole) if len(ids) > self._longest]
        for place, ids in zip(long, self._ids([texts[place] for place in long], cut=True), strict=True):
            whole[place] = ids
        return whole

    def _ids(self, texts: Sequence[str], *, cut: bool = False) -> list[list[int]]:
        if not texts:
            return []
        with self._tokenizing:
            return self._tokenizer(
                list(texts),
                truncation=cut,
                max_length=self._longest if cut else None,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]


def open_classifier(name: str, digest: str, folder: Path, toxic: Sequence[str]) -> ClassifierScorer:
    """Opens a sequence-classification folder as a judge; the languages it is for are not known.

    Raises:
      JudgeUnavailable: as `load_classifier` and `ClassifierScorer`.
    """
    return ClassifierScorer(name, digest, load_classifier(name, folder), toxic=toxic)


def load_classifier(name: str, folder: Path) -> LoadedClassifier:
    """Loads a sequence-classification folder: safetensors, no remote code.

    Raises:
      JudgeUnavailable: the folder does not load, lacks a part of the weights, or is of a regression.
    """
    transformers_logging.disable_progress_bar()
    try:
        model: Any
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except FOREIGN_ERRORS as error:
        raise JudgeUnavailable(f"the folder of the judge {name} does not load as a classifier", judge=name) from error
    # The library fills in what is missing at random, the whole head if the folder is that of a language model.
    if absent := [*found["missing_keys"], *found["mismatched_keys"]]:
        raise JudgeUnavailable(
            f"the folder of the judge {name} lacks {len(absent)} tensors of a classifier", judge=name
        )
    if model.config.problem_type == "regression":
        raise JudgeUnavailable(f"the judge {name} is a regression: its output is no probability", judge=name)
    names = model.config.id2label
    labels = tuple(str(names[index]) for index in sorted(names))
    return LoadedClassifier(model, tokenizer, labels, _labels_exclude_each_other(model.config, labels))


def _longest_text(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None)
    # RoBERTa starts counting after its padding id, and so has two positions fewer than it says.
    offset = config.pad_token_id + 1 if config.model_type in _OFFSET_POSITIONS else 0
    stated = [positions - offset] if positions else []
    stated += [tokenizer.model_max_length] if tokenizer.model_max_length < _NO_LIMIT else []
    return int(min(stated, default=_LONGEST_TEXT_TOKENS))


def _labels_exclude_each_other(config: Any, labels: Sequence[str]) -> bool:
    if config.problem_type is not None:
        return config.problem_type == "single_label_classification"
    # transformers' own rule without a stated type: one output is a sigmoid, two are alternatives. Of several labels
    # their names say it: what is neutral is nothing else; without such a label each kind of toxic is by itself.
    return len(labels) == 2 or (len(labels) > 2 and names_a_clean_text(labels))
