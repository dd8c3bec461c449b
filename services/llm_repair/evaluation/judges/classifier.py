# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""Any sequence-classification folder as a judge; the score is the largest probability of its toxic labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.judge import Probabilities

_BATCH_TOKENS: Final = 4096
"""Tokens of a batch, padding included."""
_LONGEST_TEXT_TOKENS: Final = 512
"""Where neither tokenizer nor model says how long a text may be."""


class ClassifierScorer:
    """Scores by a loaded sequence classifier."""

    def __init__(
        self, name: str, digest: str, classifier: Any, tokenizer: Any, labels: Sequence[str], toxic: Sequence[str]
    ) -> None:
        """Wraps a loaded classifier whose first outputs are `labels`; those in `toxic` count, all if it is empty.

        Raises:
          JudgeUnavailable: a toxic label is not among the labels.
        """
        if unknown := sorted(set(toxic) - set(labels)):
            raise JudgeUnavailable(
                f"the judge {name} has no label {', '.join(unknown)}; it has {', '.join(labels)}", judge=name
            )
        self.name = name
        self.digest = digest
        self.labels = tuple(labels)
        self._toxic = [index for index, label in enumerate(labels) if not toxic or label in toxic]
        self._classifier = classifier.eval()
        self._tokenizer = tokenizer
        self._longest = _longest_text(classifier.config, tokenizer)
        self._exclusive = _labels_exclude_each_other(classifier.config)

    @property
    def parts(self) -> tuple[Any, Any, list[str]]:
        """Returns the classifier, its tokenizer and its labels."""
        return self._classifier, self._tokenizer, list(self.labels)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, labels); texts are cut to what the classifier takes. See `Judge`."""
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._longest)["input_ids"]
        rows = np.full((len(texts), len(self.labels)), np.nan)
        for batch in _batches([len(ids) for ids in encoded]):
            inputs = self._tokenizer.pad({"input_ids": [encoded[index] for index in batch]}, return_tensors="pt")
            logits = self._classifier(**inputs.to(self._classifier.device)).logits.float()
            made = torch.softmax(logits, dim=-1) if self._exclusive else torch.sigmoid(logits)
            rows[batch] = made[:, : len(self.labels)].double().cpu().numpy()
        return rows

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns the largest probability among the toxic labels."""
        return probabilities[:, self._toxic].max(axis=1)


def open_classifier(name: str, digest: str, folder: Path, toxic: Sequence[str]) -> ClassifierScorer:
    """Loads a sequence-classification folder: safetensors, no remote code.

    Raises:
      JudgeUnavailable: the folder does not load, or lacks a toxic label.
    """
    transformers_logging.disable_progress_bar()
    try:
        classifier: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise JudgeUnavailable(f"the folder of the judge {name} does not load as a classifier", judge=name) from error
    names = classifier.config.id2label
    return ClassifierScorer(name, digest, classifier, tokenizer, [names[index] for index in sorted(names)], toxic)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yields indices, longest texts first, within the token budget."""
    ordered = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    start = 0
    while start < len(ordered):
        size = max(1, _BATCH_TOKENS // max(1, lengths[ordered[start]]))
        yield ordered[start : start + size]
        start += size


def _longest_text(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or _LONGEST_TEXT_TOKENS
    # RoBERTa starts counting after its padding id, and so has two positions fewer than it says.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return int(min(positions - offset, tokenizer.model_max_length, _LONGEST_TEXT_TOKENS))


def _labels_exclude_each_other(config: Any) -> bool:
    if config.problem_type is not None:
        return config.problem_type == "single_label_classification"
    # transformers' own rule without a stated type: one output is a sigmoid, two are alternatives. Of several
    # labels nothing is known; toxicity classifiers of several labels are multi-label.
    return config.num_labels == 2
