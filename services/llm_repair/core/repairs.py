"""A repair as a user asks for it, and the states it goes through."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.errors import IllegalTransition
from llm_repair.core.evaluation import Evaluation
from llm_repair.core.fields import FieldChecks
from llm_repair.core.gate import GatePolicy
from llm_repair.core.references import DatasetRef, ModelRef
from llm_repair.core.repair import RepairMethod
from llm_repair.core.selection import EMBEDDING_STRATEGIES, AutoSearch, Budget, SelectionStrategy


@dataclass(frozen=True)
class PoolRows:
    """A pool that the team brings."""

    rows: DatasetRef


@dataclass(frozen=True)
class SelfGeneratedPool:
    """A pool made from prompts alone: the model's own samples, paired by the gating judge."""

    prompts: DatasetRef
    draws: int = 8
    """Samples per prompt."""
    max_new_tokens: int = 20
    top_p: float = 0.9
    temperature: float = 1.0
    min_gap: float = 0.5
    """Least difference of judge scores within a pair, [0, 1]."""
    min_chosen_tokens: int = 8

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("draws", self.draws, low=2, high=1000)
            check.within("max_new_tokens", self.max_new_tokens, low=1, high=4096)
            check.within("top_p", self.top_p, low=0, high=1, low_open=True)
            check.within("temperature", self.temperature, low=0, low_open=True)
            check.within("min_gap", self.min_gap, low=0, high=1)
            check.within("min_chosen_tokens", self.min_chosen_tokens, low=0, high=self.max_new_tokens)


Pool: TypeAlias = PoolRows | SelfGeneratedPool
Selection: TypeAlias = SelectionStrategy | AutoSearch


@dataclass(frozen=True)
class RepairSpec:
    """One request: what to repair, with what, how, and when to call it good."""

    model: ModelRef
    pool: Pool
    budget: Budget
    selection: Selection
    method: RepairMethod
    evaluation: Evaluation
    gate: GatePolicy = GatePolicy()
    encoder: ModelRef | None = None
    """A sentence-transformers folder; needed by strategies that rank by embeddings."""
    random_control: bool = True
    """Also repairs with RANDOM at the same budget and shows the difference."""
    seed: int = 0

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("seed", self.seed, low=0, high=2**53 - 1)
            by_embeddings = isinstance(self.selection, SelectionStrategy) and isinstance(
                self.selection.kind, EMBEDDING_STRATEGIES
            )
            check.that("encoder", not by_embeddings or self.encoder is not None, "is needed by this strategy")


class RepairState(enum.Enum):
    """Where a repair is. A gate FAIL is a repair that SUCCEEDED with the verdict FAIL."""

    PENDING = 1
    """Accepted and durable; nothing runs yet."""
    RUNNING = 2
    PAUSING = 3
    PAUSED = 4
    CANCELLING = 5
    CANCELLED = 6
    SUCCEEDED = 7
    FAILED = 8

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return not _NEXT[self]

    def advance(self, to: RepairState) -> RepairState:
        """Returns `to`.

        Raises:
          IllegalTransition: the step from this state to `to` is not allowed.
        """
        if to not in _NEXT[self]:
            raise IllegalTransition(
                f"a repair that is {self.name} cannot become {to.name}", from_state=self.name, to_state=to.name
            )
        return to


_NEXT: dict[RepairState, frozenset[RepairState]] = {
    RepairState.PENDING: frozenset({RepairState.RUNNING, RepairState.CANCELLING, RepairState.FAILED}),
    RepairState.RUNNING: frozenset(
        {RepairState.PAUSING, RepairState.CANCELLING, RepairState.SUCCEEDED, RepairState.FAILED}
    ),
    RepairState.PAUSING: frozenset({RepairState.PAUSED, RepairState.CANCELLING, RepairState.SUCCEEDED}),
    RepairState.PAUSED: frozenset({RepairState.RUNNING, RepairState.CANCELLING}),
    # Cancelling is best effort: what was nearly done may still succeed.
    RepairState.CANCELLING: frozenset({RepairState.CANCELLED, RepairState.SUCCEEDED, RepairState.FAILED}),
    RepairState.CANCELLED: frozenset(),
    RepairState.SUCCEEDED: frozenset(),
    RepairState.FAILED: frozenset(),
}


class StepState(enum.Enum):
    """Where one step of a repair is."""

    WAITING = 1
    """An input is not there yet, or all slots are taken."""
    RUNNING = 2
    COMMITTED = 3
    FAILED = 4
    CANCELLED = 5
