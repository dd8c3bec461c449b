"""The seam between judges and what is done with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from llm_repair.core.execution import Json

Probabilities: TypeAlias = npt.NDArray[np.float64]

ENGLISH: Final = ("en",)
"""What a judge reads that was trained on English alone."""


class Judge(Protocol):
    """Gives probabilities of labels for texts, and says how toxic that makes them; a function of each text alone.

    Several threads may ask it at once.
    """

    @property
    def name(self) -> str:
        """Name under which its scores are filed."""
        ...

    @property
    def digest(self) -> str:
        """Digest of what it has loaded: `sha256:` and 64 hex digits."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of `probabilities` mean."""
        ...

    @property
    def toxic_labels(self) -> tuple[str, ...]:
        """Those of the labels that mean toxic."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes of the languages it was trained for; empty where that is not known."""
        ...

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, labels), each in [0, 1]; NaN where there is none.

        Raises:
          ValueError: some text cannot be scored; the caller then asks for each text alone.
        """
        ...

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns the score (texts,) in [0, 1] that rows of `probabilities` amount to."""
        ...

    def overflows(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Returns (texts,), whether a text is longer than the judge reads, so that its end counts for nothing."""
        ...


def judge_to_json(judge: Judge) -> dict[str, Json]:
    """Returns how a judge is named beside its scores: {name, digest, labels, toxic_labels, languages}."""
    return {
        "name": judge.name,
        "digest": judge.digest,
        "labels": list(judge.labels),
        "toxic_labels": list(judge.toxic_labels),
        "languages": list(judge.languages),
    }


def reads_everything(texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Returns the `overflows` of a judge that reads texts of any length."""
    return np.zeros(len(texts), dtype=np.bool_)
