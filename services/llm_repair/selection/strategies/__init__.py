"""The selection strategies: a closed registry, one method and one file each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from llm_repair.core.errors import UnknownStrategy
from llm_repair.core.selection import (
    CcsStrategy,
    ClusterRandomStrategy,
    El2nStrategy,
    FilterStrategy,
    FullStrategy,
    GrandStrategy,
    HardnessFilterStrategy,
    KCenterStrategy,
    LearnabilityStrategy,
    LossStrategy,
    RandomStrategy,
    SapsStrategy,
    SelectionStrategy,
)
from llm_repair.core.selection import Strategy as Parameters
from llm_repair.selection.strategies.ccs import CcsSelection
from llm_repair.selection.strategies.cluster_random import ClusterRandomSelection
from llm_repair.selection.strategies.el2n import El2nSelection
from llm_repair.selection.strategies.full import FullSelection
from llm_repair.selection.strategies.grand import GrandSelection
from llm_repair.selection.strategies.hardness_filter import HardnessFilter
from llm_repair.selection.strategies.k_center import KCenterSelection
from llm_repair.selection.strategies.learnability import LearnabilityFilter
from llm_repair.selection.strategies.loss import LossSelection
from llm_repair.selection.strategies.random import RandomSelection
from llm_repair.selection.strategies.saps import SapsSelection
from llm_repair.selection.strategies.strategy import Filter, Filtered, Ranking, Strata, Strategy

__all__ = [
    "FILTERS",
    "RANKINGS",
    "STRATEGIES",
    "Entry",
    "Filter",
    "Filtered",
    "Ranking",
    "Strata",
    "Strategy",
    "entry_of",
    "filter_of",
    "strategy_of",
]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Entry(Generic[T_co]):
    """One strategy of the registry."""

    name: str
    parameters: type[Parameters]
    factory: Callable[[Any], T_co]
    """Builds it from its parameters."""
    citation: str


RANKINGS: Final[tuple[Entry[Strategy], ...]] = (
    Entry("RANDOM", RandomStrategy, RandomSelection, "control of arXiv 2510.20428"),
    Entry("FULL", FullStrategy, FullSelection, "control of arXiv 2510.20428"),
    Entry("SAPS", SapsStrategy, SapsSelection, "Li & Wang, arXiv 2510.20428"),
    Entry("K_CENTER", KCenterStrategy, KCenterSelection, "Sener & Savarese, ICLR 2018"),
    Entry("CLUSTER_RANDOM", ClusterRandomStrategy, ClusterRandomSelection, "control of arXiv 2510.20428"),
    Entry("GRAND", GrandStrategy, GrandSelection, "Paul et al., NeurIPS 2021"),
    Entry("EL2N", El2nStrategy, El2nSelection, "Paul et al., NeurIPS 2021"),
    Entry("LOSS", LossStrategy, LossSelection, "Paul et al., NeurIPS 2021, as a baseline"),
    Entry("CCS", CcsStrategy, CcsSelection, "Zheng et al., ICLR 2023"),
)
FILTERS: Final[tuple[Entry[Filter], ...]] = (
    Entry("LEARNABILITY", LearnabilityStrategy, LearnabilityFilter, "Foster et al., arXiv 2502.12272"),
    Entry("HARDNESS_FILTER", HardnessFilterStrategy, HardnessFilter, "Smith et al., ML 95 (2014)"),
)
STRATEGIES: Final[tuple[Entry[Strategy | Filter], ...]] = (*RANKINGS, *FILTERS)


def strategy_of(choice: SelectionStrategy) -> Strategy:
    """Builds the strategy that ranks what the filters of the choice leave.

    Raises:
      UnknownStrategy: not in the registry.
    """
    return _entry(choice.ranking, RANKINGS).factory(choice.ranking)


def filter_of(parameters: FilterStrategy) -> Filter:
    """Builds a filter.

    Raises:
      UnknownStrategy: not in the registry.
    """
    return _entry(parameters, FILTERS).factory(parameters)


def entry_of(parameters: Parameters) -> Entry[Strategy | Filter]:
    """Returns the registry's entry for the parameters.

    Raises:
      UnknownStrategy: no strategy has parameters of this class.
    """
    return _entry(parameters, STRATEGIES)


def _entry(parameters: Parameters, table: Sequence[Entry[T_co]]) -> Entry[T_co]:
    for entry in table:
        if entry.parameters is type(parameters):
            return entry
    known = ", ".join(entry.name for entry in table)
    raise UnknownStrategy(f"the selection strategy is one of {known}", known=known)
