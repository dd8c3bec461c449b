# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""Detoxify (Hanu & Unitary team, 2020): BERT-family classifiers; the score is the largest toxic label, as in the study.

Two forms are read: the released checkpoint beside the configuration and tokenizer of its architecture, and a
safetensors folder as on the hub. The released file is a pickle: it must have its pinned sha256, and only tensors and
plain values are unpickled (`weights_only=True`), whatever the pin. That matters most for the multilingual model, of
which but the 8 hex digits in its file's name are known: 32 bits tell it from a damaged or a mistaken file, not from one
that somebody made to have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
import transformers

from llm_repair.artifacts.catalogue import DETOXIFY_SHA256_STARTS
from llm_repair.core.errors import JudgeUnavailable
from llm_repair.core.evaluation import DetoxifyVariant
from llm_repair.evaluation.judges.classifier import (
    FOREIGN_ERRORS,
    ClassifierScorer,
    LoadedClassifier,
    load_classifier,
)
from llm_repair.evaluation.judges.judge import ENGLISH
from llm_repair.evaluation.judges.pins import sha256_of

PINNED_SHA256: Final[Mapping[DetoxifyVariant, str]] = dict(
    zip(
        (DetoxifyVariant.ORIGINAL, DetoxifyVariant.UNBIASED, DetoxifyVariant.MULTILINGUAL),
        DETOXIFY_SHA256_STARTS,
        strict=True,
    )
)
"""sha256 of the releases, or what is known of its beginning."""

TOXIC_LABELS: Final[Mapping[DetoxifyVariant, tuple[str, ...]]] = {
    DetoxifyVariant.ORIGINAL: (
        "toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack",
    ),
    DetoxifyVariant.UNBIASED: (
        "toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit",
    ),
    DetoxifyVariant.MULTILINGUAL: (
        "toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit",
    ),
}  # fmt: skip
"""The labels that mean toxic; the other outputs of two of the models name identities that are spoken of."""

LANGUAGES: Final[Mapping[DetoxifyVariant, tuple[str, ...]]] = {
    DetoxifyVariant.ORIGINAL: ENGLISH,
    DetoxifyVariant.UNBIASED: ENGLISH,
    DetoxifyVariant.MULTILINGUAL: ("en", "fr", "es", "it", "pt", "tr", "ru"),
}

_ONE_NAME: Final = {"toxic": "toxicity", "severe_toxic": "severe_toxicity", "identity_hate": "identity_attack"}
_ARCHITECTURES: Final = (
    "BertForSequenceClassification",
    "RobertaForSequenceClassification",
    "XLMRobertaForSequenceClassification",
    "AlbertForSequenceClassification",
)


def open_detoxify(
    folder: Path,
    variant: DetoxifyVariant,
    digest: str,
    pins: Mapping[DetoxifyVariant, str] = PINNED_SHA256,
) -> ClassifierScorer:
    """Loads Detoxify from a folder with one released .ckpt file, or with safetensors.

    Raises:
      JudgeUnavailable: the folder is incomplete, the checkpoint is not the pinned one or holds more than tensors
        and plain values, or its labels are not those of the variant.
    """
    name = f"detoxify-{variant.name.lower()}"
    checkpoints = sorted(folder.glob("*.ckpt"))
    if not checkpoints:
        loaded = load_classifier(name, folder)
    elif len(checkpoints) == 1:
        loaded = _from_checkpoint(name, checkpoints[0], pins[variant])
    else:
        raise JudgeUnavailable(f"the folder of the judge {name} has {len(checkpoints)} checkpoints", judge=name)
    # Several labels of one text: independent probabilities, whatever the configuration leaves unsaid.
    known = tuple(_ONE_NAME.get(label, label) for label in loaded.labels)
    return ClassifierScorer(
        name,
        digest,
        replace(loaded, labels=known, exclusive=False),
        toxic=TOXIC_LABELS[variant],
        languages=LANGUAGES[variant],
    )


def _from_checkpoint(name: str, file: Path, pin: str) -> LoadedClassifier:
    if not sha256_of(file).startswith(pin):
        raise JudgeUnavailable(f"the checkpoint of the judge {name} is not the pinned one", judge=name)
    try:
        released: Any = torch.load(file, map_location="cpu", weights_only=True)
        architecture, labels = released["config"]["arch"]["args"], released["config"]["dataset"]["args"]["classes"]
        # The checkpoint names its architecture by a hub id; the folder has the same configuration at hand.
        classifier = _classifier(architecture, file.parent, released["state_dict"])
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            file.parent, local_files_only=True, trust_remote_code=False
        )
    except (*FOREIGN_ERRORS, EOFError, UnpicklingError) as error:
        raise JudgeUnavailable(f"the checkpoint of the judge {name} does not load", judge=name) from error
    return LoadedClassifier(classifier, tokenizer, tuple(map(str, labels)), exclusive=False)


def _classifier(architecture: Mapping[str, Any], folder: Path, weights: Mapping[str, torch.Tensor]) -> Any:
    if architecture["model_name"] not in _ARCHITECTURES:
        raise ValueError("the checkpoint names an architecture that Detoxify does not have")
    model_class: Any = getattr(transformers, architecture["model_name"])
    config = model_class.config_class.from_pretrained(
        folder, local_files_only=True, num_labels=int(architecture["num_classes"])
    )
    classifier = model_class(config)
    absent = classifier.load_state_dict(weights, strict=False).missing_keys
    # Older checkpoints carry a buffer of position ids that newer models rebuild; nothing may lack the other way.
    if absent := [key for key in absent if not key.endswith("position_ids")]:
        raise ValueError(f"the checkpoint lacks {len(absent)} tensors")
    return classifier
