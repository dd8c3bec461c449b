"""A repair as a user asks for it, and the states it goes through."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.errors import IllegalTransition, InvalidFields
from llm_repair.core.evaluation import Evaluation, Judge
from llm_repair.core.fields import FieldChecks
from llm_repair.core.policy import GatePolicy
from llm_repair.core.presets import resolved
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef
from llm_repair.core.repair import KL_METHODS, UNPAIRED_METHODS, RepairMethod
from llm_repair.core.scoring import DYNAMICS_SCORES, JUDGE_SCORES, MODEL_SCORES
from llm_repair.core.selection import (
    AutoSearch,
    Budget,
    FractionBudget,
    FullStrategy,
    Score,
    SelectionStrategy,
    score_gone_by,
    view_ranked_by,
)


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


class RepairGoal(enum.Enum):
    """How far a request goes; steps and keys are the same whatever the goal."""

    REPAIR = 1
    """A repaired model, its report and its verdict."""
    SELECTION = 2
    """The selected samples."""
    EVALUATION = 3
    """The measurement of a model, against a baseline if there is one, with report and verdict; nothing is trained."""


@dataclass(frozen=True)
class RepairSpec:
    """One request: what to repair, with what, how, and when to call it good."""

    model: ModelRef | None = None
    pool: Pool | None = None
    budget: Budget | None = None
    selection: Selection | None = None
    method: RepairMethod | None = None
    evaluation: Evaluation = Evaluation()
    gate: GatePolicy = GatePolicy()
    encoder: ModelRef | None = None
    """A sentence-transformers folder; needed by what goes by embeddings."""
    random_control: bool = True
    """Also repairs with RANDOM at the same budget and shows the difference."""
    seed: int = 0
    goal: RepairGoal = RepairGoal.REPAIR
    proxy: ModelRef | None = None
    """The model that scores samples; the model itself if not given."""
    utility: DatasetRef | None = None
    """Texts on which a KL term is taken; refused without one. The model's own samples if not given."""
    baseline: ModelRef | None = None
    """The model that takes the place of the base model where the goal is an evaluation."""
    full_control: bool = False
    """Also repairs with the whole pool, to which RES and one mode of RPS refer."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("seed", self.seed, low=0, high=2**53 - 1)
            self._check_parts(check)
            if self.measures:
                check.that("evaluation.prompts", self.evaluation.prompts is not None, "is required")
            if self.goal is RepairGoal.REPAIR:
                check.that("method", self.method is not None, "is required")
                unused = self.utility is not None and self.method is not None and not self.needs_utility
                check.that("utility", not unused, "is for methods with a KL term, and this one has none")
            by_goal = self.measures
            check.that(
                "model",
                self.model is not None or not self.needs_model,
                "is required" if by_goal else "is needed: this strategy or pool goes by the model",
            )
            check.that("encoder", self.encoder is not None or not self.needs_encoder, "is needed by this strategy")

    def _check_parts(self, check: FieldChecks) -> None:
        """Checks that what a goal works on is given, and what it does not know is not."""
        if self.goal is RepairGoal.EVALUATION:
            for field in ("pool", "budget", "selection", "method", "utility", "proxy"):
                check.that(field, getattr(self, field) is None, "has no part in an evaluation")
            return
        check.that("pool", self.pool is not None, "choose one of pool_rows, self_generated_pool")
        check.that("budget", self.budget is not None, "is required")
        check.that("selection", self.selection is not None, "choose one of strategy, auto")
        limit = self.budget.limit if self.budget else None
        part = isinstance(limit, FractionBudget) and limit.fraction < 1
        check.that("budget.fraction.fraction", not (part and self.selects_all), "must be 1 for FULL")
        check.that("baseline", self.baseline is None, "is for evaluations; a repair is measured against its base model")

    @property
    def measures(self) -> bool:
        """Whether models are measured, and a report and a verdict come of it."""
        return self.goal is not RepairGoal.SELECTION

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores that the strategy goes by: those of its filters, outermost first, then that of the ranking."""
        parts = (*self._strategy.filters, self._strategy.ranking) if self._strategy else ()
        return tuple(score for part in parts if (score := score_gone_by(part)))

    @property
    def selects_all(self) -> bool:
        """Whether the strategy is FULL, with no filter before it."""
        return isinstance(self.selection, SelectionStrategy) and isinstance(self.selection.kind, FullStrategy)

    @property
    def needs_model(self) -> bool:
        """Whether the model itself takes part."""
        scored = any(score in (*MODEL_SCORES, *DYNAMICS_SCORES) for score in self.scores) and self.proxy is None
        samples = isinstance(self.pool, SelfGeneratedPool) or Score.FAILURE_RATE in self.scores
        return self.measures or scored or samples

    @property
    def needs_proxy(self) -> bool:
        """Whether a model other than the model scores samples."""
        return self.proxy is not None and any(score in (*MODEL_SCORES, *DYNAMICS_SCORES) for score in self.scores)

    @property
    def needs_encoder(self) -> bool:
        """Whether texts are embedded."""
        by_view = self._strategy is not None and view_ranked_by(self._strategy.ranking) is not None
        return by_view or Score.INSTANCE_HARDNESS in self.scores

    @property
    def pool_kind(self) -> DatasetKind:
        """What the rows of a pool that the team brings must have."""
        unpaired = self.method is not None and isinstance(self.method.objective, UNPAIRED_METHODS)
        return DatasetKind.UNPAIRED_POOL if unpaired else DatasetKind.POOL

    @property
    def needs_utility(self) -> bool:
        """Whether a KL term is taken on utility texts."""
        by_kl = self.method is not None and isinstance(self.method.objective, KL_METHODS)
        return by_kl and self.goal is RepairGoal.REPAIR

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The judges that take part: all in a measurement; where only a pool or a score is judged, the gating one."""
        if self.measures:
            return self.evaluation.judges
        judged = isinstance(self.pool, SelfGeneratedPool) or any(score in JUDGE_SCORES for score in self.scores)
        return self.evaluation.judges[:1] if judged else ()

    @property
    def _strategy(self) -> SelectionStrategy | None:
        """The strategy with what its preset stands for, since that decides what is needed; None for a search."""
        if not isinstance(self.selection, SelectionStrategy):
            return None
        try:
            return resolved(self.selection)
        except InvalidFields:  # parameters beside a preset, which is refused with all else that is wrong
            return self.selection


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
    RepairState.PENDING: frozenset(
        {RepairState.RUNNING, RepairState.PAUSING, RepairState.CANCELLING, RepairState.FAILED}
    ),
    RepairState.RUNNING: frozenset(
        {RepairState.PAUSING, RepairState.CANCELLING, RepairState.SUCCEEDED, RepairState.FAILED}
    ),
    # What was nearly done when it was asked to pause may still end.
    RepairState.PAUSING: frozenset(
        {RepairState.PAUSED, RepairState.CANCELLING, RepairState.SUCCEEDED, RepairState.FAILED}
    ),
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
