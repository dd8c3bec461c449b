"""Budgets and selection strategies: their typed parameters, with ranges and sources.

The algorithms live in `selection/strategies`, one file each. Symbols of the papers are in the docstrings.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
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
    """A score of a sample; which end is the hard one is said by `hard_is_low`."""

    GRAND = 1
    """l2 norm of the per-sample gradient of the repair loss."""
    EL2N = 2
    """l2 norm of the error vector, the mean over the learnt tokens."""
    LOSS = 3
    """Negative log-likelihood of a learnt token, the mean, in nats."""
    AUM = 4
    """Area under the margin: logit of the learnt token minus the largest other one, over a short training run."""
    FORGETTING = 5
    """How often a learnt token is forgotten in a short training run."""
    TOXICITY = 6
    """The judge's score of the rejected continuation, [0, 1]."""
    FAILURE_RATE = 7
    """Share of the model's own samples on the prompt that the judge calls toxic, [0, 1]."""
    INSTANCE_HARDNESS = 8
    """How surely a classifier that never saw the pair would swap chosen and rejected, [0, 1]."""

    @property
    def hard_is_low(self) -> bool:
        """Whether the samples with the smallest scores are the hard ones."""
        return self is Score.AUM


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
    """Number of equal-width strata, [1, 65536]."""
    stratum_edges: tuple[float, ...] = ()
    """Hand-set inner edges, as in the study's release; replace `strata`."""
    dynamics_epochs: int = 4
    """Passes over the pool of the training run behind AUM and FORGETTING."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("hard_cutoff", self.hard_cutoff, low=0, high=1, high_open=True)
            check.that(
                "score", self.score not in FILTER_SCORES, "is a filter's: choose LEARNABILITY or HARDNESS_FILTER"
            )
            check.within("strata", self.strata, low=1, high=65536)
            check.within("dynamics_epochs", self.dynamics_epochs, low=1, high=1000)
            for index, edge in enumerate(self.stratum_edges):
                check.within(f"stratum_edges[{index}]", edge)
            check.that("stratum_edges", list(self.stratum_edges) == sorted(self.stratum_edges), "must ascend")


@dataclass(frozen=True)
class SapsStrategy:
    """Semantic-aware prioritised sampling: embed, reduce, cluster, take the boundary (arXiv 2510.20428)."""

    text_view: TextView = TextView.PROMPT_REJECTED
    pca_components: int = 50
    """Dimensions kept by PCA; capped by pool size and embedding width. 0 for none."""
    clusters: int = 10
    """k of k-means, capped by the number of distinct points; 0 for sqrt(n / 2), rounded (Mardia et al. 1979)."""
    boundary_fraction: float = 1.0
    """Share of each quota taken farthest from the centroid, the rest nearest to it (RQ4), [0, 1]."""
    allocation: Allocation = Allocation.PROPORTIONAL

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("pca_components", self.pca_components, low=0)
            check.within("clusters", self.clusters, low=0, high=65536)
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
            check.within("clusters", self.clusters, low=0, high=65536)


@dataclass(frozen=True)
class LearnabilityStrategy:
    """Drops prompts that the model never or always fails on, by judge scores of its own samples."""

    low: float = 0.05
    """Prompts that fail less often than this are dropped, [0, 1]."""
    high: float = 0.95
    """Prompts that fail more often than this are dropped, [0, 1]."""
    then: SelectionStrategy = field(default_factory=lambda: SelectionStrategy(RandomStrategy()))
    """How the prompts that are left are ranked."""
    draws: int = 8
    """Samples per prompt."""
    max_new_tokens: int = 20
    failing_from: float = 0.5
    """Judge score from which a sample counts as failing."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("low", self.low, low=0, high=1)
            check.within("high", self.high, low=0, high=1)
            check.that("high", self.low < self.high, "must be above low")
            check.within("draws", self.draws, low=2, high=1000)
            check.within("max_new_tokens", self.max_new_tokens, low=1, high=4096)
            check.within("failing_from", self.failing_from, low=0, high=1, low_open=True)
            again = any(isinstance(inner, LearnabilityStrategy) for inner in self.then.filters)
            check.that("then", not again, "must not hold the same filter again")


@dataclass(frozen=True)
class HardnessFilterStrategy:
    """Removes likely mislabelled pairs by instance hardness before any other strategy (Smith et al., ML 95, 2014)."""

    max_hardness: float = 0.7
    """Pairs with a larger instance hardness are removed, (0, 1]."""
    then: SelectionStrategy = field(default_factory=lambda: SelectionStrategy(RandomStrategy()))
    """How the pairs that are left are ranked."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("max_hardness", self.max_hardness, low=0, high=1, low_open=True)
            again = any(isinstance(inner, HardnessFilterStrategy) for inner in self.then.filters)
            check.that("then", not again, "must not hold the same filter again")


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

FilterStrategy: TypeAlias = LearnabilityStrategy | HardnessFilterStrategy
"""Strategies that only drop samples, and leave the ranking to the strategy inside them."""

FILTER_SCORES = (Score.FAILURE_RATE, Score.INSTANCE_HARDNESS)
"""Scores that filters go by."""


class SelectionPreset(enum.Enum):
    """Named parameters; see `core.presets`."""

    DEFAULT = 1
    """Those given, and the defaults for the others."""
    PAPER = 2
    """The constants of the release of arXiv 2510.20428; none may be given beside it."""


@dataclass(frozen=True)
class SelectionStrategy:
    """A choice of one strategy with its parameters."""

    kind: Strategy
    preset: SelectionPreset = SelectionPreset.DEFAULT

    @property
    def filters(self) -> tuple[FilterStrategy, ...]:
        """The filters around the ranking strategy, outermost first."""
        return (self.kind, *self.kind.then.filters) if isinstance(self.kind, FilterStrategy) else ()

    @property
    def ranking(self) -> Strategy:
        """The strategy that ranks what the filters leave."""
        return self.kind.then.ranking if isinstance(self.kind, FilterStrategy) else self.kind


def view_ranked_by(strategy: Strategy) -> TextView | None:
    """Returns the text whose embeddings the strategy ranks by; None if it ranks by something else."""
    match strategy:
        case KCenterStrategy() | SapsStrategy() | ClusterRandomStrategy():
            return strategy.text_view
        case _:
            return None


def score_gone_by(strategy: Strategy) -> Score | None:
    """Returns the score the strategy ranks or filters by; None if it goes by something else."""
    match strategy:
        case GrandStrategy():
            return Score.GRAND
        case El2nStrategy():
            return Score.EL2N
        case LossStrategy():
            return Score.LOSS
        case CcsStrategy():
            return strategy.score
        case LearnabilityStrategy():
            return Score.FAILURE_RATE
        case HardnessFilterStrategy():
            return Score.INSTANCE_HARDNESS
        case _:
            return None


@dataclass(frozen=True)
class AutoSearch:
    """Successive halving over strategies and fractions, RANDOM surviving every round; see `core.search`."""

    strategies: tuple[SelectionStrategy, ...]
    """RANDOM is tried beside them, named or not."""
    fractions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    """Shares of the pool, ascending, each in (0, 1); FULL is the control at 1."""
    reduction: int = 3
    """η: a round keeps one arm of so many, and the next measures so many times the prompts."""
    finalists: int = 4
    """Arms that reach the report split, RANDOM and FULL beside them."""
    selection_share: float = 0.5
    """Share of the evaluation prompts that arms are chosen on; the others are only reported on."""
    toxicity_margin: float = 0.02
    """Mean toxicity that counts as no difference; 0.02 is a quarter of what a repair that worked gained."""
    perplexity_margin: float = 0.05
    """Relative rise of perplexity that counts as none."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.that("strategies", bool(self.strategies), "must name at least one strategy")
            for index, strategy in enumerate(self.strategies):
                full = isinstance(strategy.ranking, FullStrategy)
                check.that(f"strategies[{index}]", not full, "FULL is the control of every search, not part of it")
                again = strategy in self.strategies[:index]
                check.that(f"strategies[{index}]", not again, "is there twice")
            check.that("fractions", bool(self.fractions), "must name at least one fraction")
            for index, fraction in enumerate(self.fractions):
                check.within(f"fractions[{index}]", fraction, low=0, high=1, low_open=True, high_open=True)
                above = index == 0 or fraction > self.fractions[index - 1]
                check.that(f"fractions[{index}]", above, "must be above the one before")
            check.within("reduction", self.reduction, low=2, high=100)
            check.within("finalists", self.finalists, low=1, high=1000)
            check.within("selection_share", self.selection_share, low=0, high=1, low_open=True, high_open=True)
            check.within("toxicity_margin", self.toxicity_margin, low=0, high=1)
            check.within("perplexity_margin", self.perplexity_margin, low=0)
