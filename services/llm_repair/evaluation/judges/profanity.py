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

from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.judge import Probabilities
from llm_repair.evaluation.judges.pins import check_pins, digest_of_pins

PINS: Final = {
    "data/model.joblib": "aeafc04849d4d93db4721cf30a86ebf22085595294b8a07d51918e7fa98f538b",
    "data/vectorizer.joblib": "19c5200dc6a41f026e0558e2f164f5fe8d8f58e502b46b37e4385037fcfa4831",
}
"""Files of alt-profanity-check 1.9.1."""
_PACKAGE = "profanity_check"


class ProfanityScorer:
    """Scores by alt-profanity-check."""

    name = "profanity"
    labels = ("profanity",)

    def __init__(self) -> None:
        """Loads the package after checking its files.

        Raises:
          JudgeUnavailable: the package is missing, or its files are not the pinned ones.
        """
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise JudgeUnavailable(
                "the judge profanity is not installed; install the extra llm-repair[evaluation]", extra="evaluation"
            )
        check_pins(self.name, Path(spec.submodule_search_locations[0]), PINS)
        self.digest = digest_of_pins(PINS)
        self._package: Any = importlib.import_module(_PACKAGE)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns (texts, 1); see `Judge`."""
        return np.asarray(self._package.predict_prob(list(texts)), dtype=np.float64).reshape(-1, 1)

    def toxicity(self, probabilities: Probabilities) -> npt.NDArray[np.float64]:
        """Returns the only probability."""
        return probabilities[:, 0]
