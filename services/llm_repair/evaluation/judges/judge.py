"""The seam between judges and what is done with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Probabilities: TypeAlias = npt.NDArray[np.float64]


class Judge(Protocol):
    """Gives probabilities of labels for texts, and says how toxic that makes them."""

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

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, labels), each in [0, 1]; NaN where there is none.

        Raises:
          ValueError: some text cannot be scored; the caller then asks for each text alone.
        """
        ...

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns the score (texts,) in [0, 1] that rows of `probabilities` amount to."""
        ...
