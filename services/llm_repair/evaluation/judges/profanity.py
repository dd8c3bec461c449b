# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# alt-profanity-check is untyped.
"""alt-profanity-check: tf-idf and a calibrated linear SVM, one probability. Mostly a profanity detector.

The package keeps its model in pickles inside the wheel; importing it loads them. So this is imported in a judge's
process only, and only after both files have shown their pinned sha256.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llm_repair.artifacts.catalogue import PROFANITY_CHECK_FILES
from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.judge import ENGLISH, Probabilities, reads_everything
from llm_repair.evaluation.judges.pins import check_pins, digest_of_pins

_PINS: Final = {name: digest.removeprefix("sha256:") for name, digest in PROFANITY_CHECK_FILES.items()}
_PACKAGE = "profanity_check"


class ProfanityScorer:
    """Scores by alt-profanity-check."""

    name = "profanity"
    labels = ("profanity",)
    toxic_labels = labels
    languages = ENGLISH

    def __init__(self, digest: str = "") -> None:
        """Loads the package after checking its files.

        Args:
          digest: What the job was resolved to; empty for whatever is pinned here.

        Raises:
          JudgeUnavailable: the package is missing, or its files are not the pinned ones or not those of the job.
        """
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise JudgeUnavailable(
                "the judge profanity is not installed; install the extra llm-repair[evaluation]", extra="evaluation"
            )
        check_pins(self.name, Path(spec.submodule_search_locations[0]), _PINS)
        self.digest = digest_of_pins(_PINS)
        if digest and digest != self.digest:
            raise JudgeUnavailable(
                "the job was made for other files of the judge profanity than are pinned here", pinned=self.digest
            )
        self._package: Any = importlib.import_module(_PACKAGE)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, 1); see `Judge`."""
        return np.asarray(self._package.predict_prob(list(texts)), dtype=np.float64).reshape(-1, 1)

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns the only probability."""
        return probabilities[:, 0]

    def overflows(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Returns that no text does: words are counted, however many."""
        return reads_everything(texts)
