"""Which labels of a classifier mean toxic: those that are stated, or that say so by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llm_repair.core.errors import JudgeUnavailable

_NAMES_OF_TOXIC: Final = """
toxic toxicity severe_toxic severe_toxicity obscene obscenity insult insulting threat threatening identity_attack
identity_hate sexual_explicit sexually_explicit hate hateful hate_speech hatespeech offensive offensive_language
abuse abusive harassment profane profanity vulgar violence harmful unsafe
"""
_NAMES_OF_CLEAN: Final = "neutral normal clean none neither benign safe harmless appropriate acceptable ok"
_TOXIC: Final = frozenset(_NAMES_OF_TOXIC.split())
_DENIALS: Final = ("non_", "not_", "no_", "non", "not")
_CLEAN: Final = frozenset(
    [*_NAMES_OF_CLEAN.split(), *(denial + toxic for denial in _DENIALS for toxic in _TOXIC)],
)


def toxic_labels(judge: str, labels: Sequence[str], stated: Sequence[str], *, exclusive: bool) -> tuple[str, ...]:
    """Returns the labels that mean toxic.

    If none are stated, every label must be known by name for toxic or for clean. All labels for toxic would make a
    classifier of neutral and toxic call every text toxic, and to guess at a name would make it call some of them clean.

    Args:
      judge: Name of the judge, for errors.
      labels: All that it has.
      stated: Those that its user calls toxic; may be empty.
      exclusive: Whether a text has exactly one label.

    Raises:
      JudgeUnavailable: a stated label is not among the labels; nothing is stated and the names do not say; or every
        label of a judge of exclusive ones is toxic, and so every text.
    """
    if unknown := sorted(set(stated) - set(labels)):
        raise JudgeUnavailable(
            f"the judge {judge} has no label {', '.join(unknown)}; it has {', '.join(labels)}", judge=judge
        )
    if not stated and (unclear := [label for label in labels if _name(label) not in _TOXIC | _CLEAN]):
        raise JudgeUnavailable(
            f"the labels of the judge {judge} do not say which of them mean toxic; state toxic_labels, out of "
            f"{', '.join(labels)}",
            judge=judge,
            unclear=", ".join(unclear),
        )
    toxic = tuple(label for label in labels if (label in stated if stated else _name(label) in _TOXIC))
    if not toxic:
        raise JudgeUnavailable(f"none of the labels of the judge {judge} means toxic: {', '.join(labels)}", judge=judge)
    if exclusive and len(toxic) == len(labels):
        raise JudgeUnavailable(
            f"a text has one label of the judge {judge}, and each would mean toxic: {', '.join(labels)}", judge=judge
        )
    return toxic


def names_a_clean_text(labels: Sequence[str]) -> bool:
    """Tells whether some label means that a text is not toxic: where there is one, it excludes the others."""
    return any(_name(label) in _CLEAN for label in labels)


def _name(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
