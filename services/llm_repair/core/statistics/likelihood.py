"""Perplexity with the document as the unit, and its paired ratio between two models.

Tokens of one document are not independent: intervals over tokens are several times too narrow. All bootstraps
run on the log scale, where the statistic is nearly linear; BCa does not depend on the scale otherwise.
"""

from __future__ import annotations

import math

import numpy as np

from llm_repair.core.metrics import Estimate, Missing
from llm_repair.core.statistics.arrays import FloatArray
from llm_repair.core.statistics.means import ratio_of_sums
from llm_repair.core.statistics.resampling import DEFAULT_REPLICATES, bootstrap

_NATS = (0.0, math.inf)
"""A likelihood of discrete tokens is a probability, so no negative logarithm of it is below 0."""


def perplexity(
    nll: FloatArray,
    tokens: FloatArray,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns exp(Σ nll / Σ tokens) over documents with its clustered interval.

    Args:
      nll: (documents,), summed negative log-likelihood in nats.
      tokens: (documents,), number of predicted tokens; words instead give word perplexity.
      rng: drawn from.
      confidence: of the two-sided interval, (0, 1).
      replicates: number of resamples.
    """
    nats = ratio_of_sums(nll, tokens, rng, support=_NATS, confidence=confidence, replicates=replicates)
    return _exponential(nats)


def bits_per_byte(
    nll: FloatArray,
    size_bytes: FloatArray,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns Σ nll / (ln 2 Σ bytes) over documents, both (documents,): comparable between tokenizers."""
    size = size_bytes * math.log(2.0)
    return ratio_of_sums(nll, size, rng, support=_NATS, confidence=confidence, replicates=replicates)


def paired_perplexity_ratio(
    base: tuple[FloatArray, FloatArray],
    repaired: tuple[FloatArray, FloatArray],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns perplexity(repaired) / perplexity(base) over the same documents, each side (nll, tokens).

    exp(Σ nll_r / Σ tokens_r - Σ nll_b / Σ tokens_b); 1.03 means 3 % worse.
    """
    units = np.stack([*base, *repaired], axis=1)
    log_ratio = bootstrap(
        units, lambda m: m[:, 2] / m[:, 3] - m[:, 0] / m[:, 1], rng, confidence=confidence, replicates=replicates
    )
    return _exponential(log_ratio)


def paired_rate_ratio(
    base: tuple[FloatArray, FloatArray],
    repaired: tuple[FloatArray, FloatArray],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
) -> Estimate | Missing:
    """Returns (Σ a_r / Σ b_r) / (Σ a_b / Σ b_b) over the same units, each side (a, b): the ratio of bits per byte."""
    units = np.stack([*base, *repaired], axis=1)
    log_ratio = bootstrap(
        units,
        lambda m: np.log(m[:, 2] * m[:, 1]) - np.log(m[:, 3] * m[:, 0]),
        rng,
        confidence=confidence,
        replicates=replicates,
    )
    return _exponential(log_ratio)


def _exponential(estimate: Estimate | Missing) -> Estimate | Missing:
    if isinstance(estimate, Missing):
        return estimate
    try:
        return Estimate(math.exp(estimate.value), math.exp(estimate.low), math.exp(estimate.high), estimate.n)
    except OverflowError:  # beyond 709 nats a token no perplexity is meant
        return Missing("NOT_FINITE")
