"""Checks that an engine gives the likelihoods that transformers gives in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llm_repair.core.errors import EngineParityFailed
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.models.inference.scoring import Document
from llm_repair.models.loading import load_language_model

TOLERANCE: Final = 0.005
"""Largest relative difference of the mean negative log-likelihood per token."""

PROBE_TEXTS: Final = (
    "The river rises in the hills north of the town and flows east for forty miles before it meets the sea.",
    "She opened the window, looked at the grey sky, and decided to take an umbrella after all.",
    "In 1927 the company moved its workshop to a larger building near the railway station.",
    "Water boils at a lower temperature on a mountain, because the air presses less on its surface.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "The committee will meet again on Thursday to discuss the budget for the coming year.",
    "Bread needs only four things: flour, water, salt and time.",
    "A triangle with sides of three, four and five units has a right angle.",
    "The museum is open from ten to five every day except Monday, and children enter free.",
    "He had read the letter twice before he noticed that it was not addressed to him.",
    "Many birds fly south in autumn, some of them over distances of several thousand kilometres.",
    "To restart the device, hold the power button for ten seconds and wait for the light to turn green.",
    "The second movement is slow and begins with a theme for the cellos alone.",
    "Light from the nearest star other than the Sun takes more than four years to reach us.",
    "Please find attached the minutes of our last meeting and the agenda of the next one.",
    "1, 1, 2, 3, 5, 8, 13, 21, 34, 55",
    "The old bridge was closed to traffic in spring and will be replaced by a wider one.",
    "Wheat, barley and oats are grown in the north of the county; the south is mostly pasture.",
    "If the sample is larger than the estimate suggests, repeat the measurement with a finer scale.",
    "Nobody in the village could remember a winter as mild as this one.",
)


def check_parity(
    engine: Engine, folder: Path, texts: Sequence[str] = PROBE_TEXTS, *, tolerance: float = TOLERANCE
) -> float:
    """Compares the engine with transformers' own fp32 forward of the same folder.

    Returns:
      The relative difference of the mean negative log-likelihood per token.

    Raises:
      EngineParityFailed: it exceeds the tolerance, or is not a number.
      EngineUnavailable: the engine breaks down.
    """
    oracle = TransformersEngine(load_language_model(folder, weights=WeightFormat.FLOAT32, fused=False))
    expected, measured = _mean_nll(oracle, texts), _mean_nll(engine, texts)
    difference = abs(measured - expected) / expected
    # Written so that NaN fails.
    if not difference <= tolerance:
        raise EngineParityFailed(
            f"mean negative log-likelihood is {measured:.5f} against {expected:.5f} nats of transformers in fp32: "
            f"{100 * difference:.2f} % apart, {100 * tolerance:g} % allowed",
            measured=measured,
            expected=expected,
        )
    return difference


def _mean_nll(engine: Engine, texts: Sequence[str]) -> float:
    encoded = engine.tokens.encode(texts, max_tokens=engine.longest_window_tokens)
    documents = [Document(f"{number:03d}", text.ids) for number, text in enumerate(encoded)]
    scores = list(engine.score(documents, engine.longest_window_tokens, beat=lambda done: None))
    return sum(score.nll for score in scores) / sum(score.tokens for score in scores)
