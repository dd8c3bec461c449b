"""The selection strategies: a closed registry, one method and one file each."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from llm_repair.core.errors import NotCarriedOut, UnknownStrategy
from llm_repair.core.selection import (
    CcsStrategy,
    ClusterRandomStrategy,
    El2nStrategy,
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
from llm_repair.selection.strategies.cluster_random import ClusterRandomSelection
from llm_repair.selection.strategies.full import FullSelection
from llm_repair.selection.strategies.k_center import KCenterSelection
from llm_repair.selection.strategies.random import RandomSelection
from llm_repair.selection.strategies.saps import SapsSelection
from llm_repair.selection.strategies.strategy import Ranking, Strategy

__all__ = ["STRATEGIES", "Entry", "Needs", "Ranking", "Strategy", "entry_of", "strategy_of"]


class Needs(enum.Enum):
    """What a strategy must be given besides the ids."""

    NOTHING = 1
    EMBEDDINGS = 2
    SCORES = 3


@dataclass(frozen=True)
class Entry:
    """One strategy of the registry."""

    name: str
    parameters: type[Parameters]
    factory: Callable[[Any], Strategy]
    """Builds the strategy from its parameters; raises `NotCarriedOut` where this version has only the contract."""
    needs: Needs
    citation: str


def _not_carried_out(parameters: Parameters) -> NoReturn:
    name = entry_of(parameters).name
    raise NotCarriedOut(f"{name} needs per-sample scores, and this version has no scoring step yet", strategy=name)


STRATEGIES = (
    Entry("RANDOM", RandomStrategy, RandomSelection, Needs.NOTHING, "control of arXiv 2510.20428"),
    Entry("FULL", FullStrategy, FullSelection, Needs.NOTHING, "control of arXiv 2510.20428"),
    Entry("SAPS", SapsStrategy, SapsSelection, Needs.EMBEDDINGS, "Li & Wang, arXiv 2510.20428"),
    Entry("K_CENTER", KCenterStrategy, KCenterSelection, Needs.EMBEDDINGS, "Sener & Savarese, ICLR 2018"),
    Entry("CLUSTER_RANDOM", ClusterRandomStrategy, ClusterRandomSelection, Needs.EMBEDDINGS, "arXiv 2510.20428"),
    Entry("GRAND", GrandStrategy, _not_carried_out, Needs.SCORES, "Paul et al., NeurIPS 2021"),
    Entry("EL2N", El2nStrategy, _not_carried_out, Needs.SCORES, "Paul et al., NeurIPS 2021"),
    Entry("LOSS", LossStrategy, _not_carried_out, Needs.SCORES, "Paul et al., NeurIPS 2021, as a baseline"),
    Entry("CCS", CcsStrategy, _not_carried_out, Needs.SCORES, "Zheng et al., ICLR 2023"),
    Entry("LEARNABILITY", LearnabilityStrategy, _not_carried_out, Needs.SCORES, "own, after arXiv 2510.20428"),
    Entry("HARDNESS_FILTER", HardnessFilterStrategy, _not_carried_out, Needs.SCORES, "Smith et al., ML 95 (2014)"),
)


def entry_of(parameters: Parameters) -> Entry:
    """Returns the registry's entry for the parameters.

    Raises:
      UnknownStrategy: no strategy has parameters of this class.
    """
    for entry in STRATEGIES:
        if entry.parameters is type(parameters):
            return entry
    known = ", ".join(entry.name for entry in STRATEGIES)
    raise UnknownStrategy(f"the selection strategy is one of {known}", known=known)


def strategy_of(choice: SelectionStrategy) -> Strategy:
    """Builds the strategy that was chosen.

    Raises:
      UnknownStrategy: not in the registry.
      NotCarriedOut: in the contract, but not in this version.
    """
    return entry_of(choice.kind).factory(choice.kind)
