"""Budgets and selection strategies: their typed parameters, with ranges and sources.

The algorithms live in `selection/strategies`, one file each. Symbols of the papers are in the docstrings.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.fields import FieldChecks


@dataclass(frozen=True)
class FractionBudget:
    """A share of the pool, rounded to the nearest whole sample (half up), at least one."""

    fraction: float

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("fraction", self.fraction, low=0, high=1, low_open=True)


@dataclass(frozen=True)
class SamplesBudget:
    """A number of samples."""

    samples: int

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("samples", self.samples, low=1)


@dataclass(frozen=True)
class TokensBudget:
    """The longest prefix of the ranking that fits.

    A token is a run of characters other than white space in prompt, chosen and rejected text.
    """

    tokens: int

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("tokens", self.tokens, low=1)


Limit: TypeAlias = FractionBudget | SamplesBudget | TokensBudget


@dataclass(frozen=True)
class Budget:
    """How much of the pool may be used for the repair."""

    limit: Limit


class TextView(enum.Enum):
    """Which text of a pool row is embedded or scored."""

    PROMPT = 1
    REJECTED = 2
    CHOSEN = 3
    PROMPT_REJECTED = 4
    PROMPT_CHOSEN = 5


class Allocation(enum.Enum):
    """How a budget is divided among clusters."""

    PROPORTIONAL = 1
    """By a divisor method (Webster), so that a larger budget contains the smaller one."""
    EQUAL = 2
    """The same number from each, as released; a small cluster's shortfall goes to the others."""


class Score(enum.Enum):
    """A difficulty score of a sample."""

    GRAND = 1
    EL2N = 2
    LOSS = 3
    AUM = 4
    FORGETTING = 5


@dataclass(frozen=True)
class RandomStrategy:
    """The smallest seeded hashes of the ids: uniform without replacement, independent of the order."""


@dataclass(frozen=True)
class FullStrategy:
    """Everything; the budget must be the whole pool. A control."""


@dataclass(frozen=True)
class KCenterStrategy:
    """Greedy farthest-first on embeddings (Sener & Savarese, ICLR 2018)."""

    text_view: TextView = TextView.PROMPT_REJECTED
    pca_components: int = 50
    """0 for none."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("pca_components", self.pca_components, low=0)


@dataclass(frozen=True)
class GrandStrategy:
    """Largest l2 norm of the per-sample gradient of the repair loss (Paul et al., NeurIPS 2021)."""


@dataclass(frozen=True)
class El2nStrategy:
    """Largest l2 norm of the error vector, the cheap relative of GraNd (Paul et al., NeurIPS 2021)."""


@dataclass(frozen=True)
class LossStrategy:
    """Largest loss at the given model."""


@dataclass(frozen=True)
class CcsStrategy:
    """Coverage-centric selection (Zheng et al., ICLR 2023)."""

    score: Score = Score.LOSS
    hard_cutoff: float = 0.1
    """β: share of the hardest samples dropped first, [0, 1)."""
    strata: int = 50
    """Number of equal-width strata."""
    stratum_edges: tuple[float, ...] = ()
    """Hand-set inner edges, as in the study's release; replaces `strata` and the refill."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("hard_cutoff", self.hard_cutoff, low=0, high=1, high_open=True)
            check.within("strata", self.strata, low=1)
            check.that("stratum_edges", list(self.stratum_edges) == sorted(self.stratum_edges), "must ascend")


@dataclass(frozen=True)
class SapsStrategy:
    """Semantic-aware prioritised sampling: embed, reduce, cluster, take the boundary (arXiv 2510.20428)."""

    text_view: TextView = TextView.PROMPT_REJECTED
    pca_components: int = 50
    """Dimensions kept by PCA; capped by pool size and embedding width. 0 for none."""
    clusters: int = 10
    """k of k-means; capped by the number of distinct points."""
    boundary_fraction: float = 1.0
    """Share of each quota taken farthest from the centroid, the rest nearest to it (RQ4), [0, 1]."""
    allocation: Allocation = Allocation.PROPORTIONAL

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("pca_components", self.pca_components, low=0)
            check.within("clusters", self.clusters, low=1, high=65536)
            check.within("boundary_fraction", self.boundary_fraction, low=0, high=1)


@dataclass(frozen=True)
class ClusterRandomStrategy:
    """Random within clusters with proportional quotas: SAPS without its ranking. A control."""

    text_view: TextView = TextView.PROMPT_REJECTED
    pca_components: int = 50
    clusters: int = 10

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("pca_components", self.pca_components, low=0)
            check.within("clusters", self.clusters, low=1, high=65536)


@dataclass(frozen=True)
class LearnabilityStrategy:
    """Drops prompts that the model never or always fails on, by judge scores of its own samples."""

    low: float = 0.05
    high: float = 0.95

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("low", self.low, low=0, high=1)
            check.within("high", self.high, low=0, high=1)
            check.that("high", self.low < self.high, "must be above low")


@dataclass(frozen=True)
class HardnessFilterStrategy:
    """Removes likely mislabelled pairs by instance hardness, then takes the rest at random."""

    max_hardness: float = 0.9

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("max_hardness", self.max_hardness, low=0, high=1, low_open=True)


Strategy: TypeAlias = (
    RandomStrategy
    | FullStrategy
    | KCenterStrategy
    | GrandStrategy
    | El2nStrategy
    | LossStrategy
    | CcsStrategy
    | SapsStrategy
    | ClusterRandomStrategy
    | LearnabilityStrategy
    | HardnessFilterStrategy
)

EMBEDDING_STRATEGIES = (KCenterStrategy, SapsStrategy, ClusterRandomStrategy)
"""Strategies that rank by embeddings, so that an `embed` step comes first."""


@dataclass(frozen=True)
class SelectionStrategy:
    """A choice of one strategy with its parameters."""

    kind: Strategy


@dataclass(frozen=True)
class AutoSearch:
    """Successive halving over strategies and fractions, RANDOM surviving every round."""

    strategies: tuple[SelectionStrategy, ...]
    fractions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.that("strategies", bool(self.strategies), "must name at least one strategy")
            for index, fraction in enumerate(self.fractions):
                check.within(f"fractions[{index}]", fraction, low=0, high=1, low_open=True)
