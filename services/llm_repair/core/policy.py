"""What a gate asks for: criteria on metrics, each a rule with a bound, and how a measurement may end early."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.fields import FieldChecks

SEQUENTIAL_METRIC = "toxicity.mean"
"""The metric whose change a sequential measurement decides."""


@dataclass(frozen=True)
class AbsoluteRule:
    """The repaired model's value must be on the good side of `bound`."""

    bound: float

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("bound", self.bound)


@dataclass(frozen=True)
class ChangeRule:
    """The paired change must be better than `bound`: for differences usually 0, for ratios 1."""

    bound: float

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("bound", self.bound)


@dataclass(frozen=True)
class NonInferiorityRule:
    """The change may be worse than no change by at most `margin`.

    For a difference the bound is 0 ± margin, for a ratio 1 ± margin.
    """

    margin: float

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("margin", self.margin, low=0)


Rule: TypeAlias = AbsoluteRule | ChangeRule | NonInferiorityRule


class OnMissing(enum.Enum):
    """What a metric without a value means for its criterion."""

    FAIL = 1
    INCONCLUSIVE = 2


class CriterionSlice(enum.Enum):
    """Over which units a criterion must hold."""

    ALL = 1
    """All units together."""
    EACH_GROUP = 2
    """Every group of units by itself: an average may hide a group that got worse. The worst group decides."""


@dataclass(frozen=True)
class Criterion:
    """One requirement on one metric."""

    metric: str
    rule: Rule
    on_missing: OnMissing = OnMissing.FAIL
    slice: CriterionSlice = CriterionSlice.ALL

    def __post_init__(self) -> None:
        if not self.metric:
            raise InvalidFields([FieldViolation("metric", "must name a metric, such as toxicity.mean")])


@dataclass(frozen=True)
class SequentialGate:
    """Measures no more prompts than the verdict on `toxicity.mean` needs, and quotes the interval of the sequence."""

    first_look_prompts: int = 100
    look_every_prompts: int = 50

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("first_look_prompts", self.first_look_prompts, low=100, high=1 << 20)
            check.within("look_every_prompts", self.look_every_prompts, low=1, high=1 << 20)


@dataclass(frozen=True)
class GatePolicy:
    """All requirements; the verdict is the worst of theirs."""

    criteria: tuple[Criterion, ...] = ()
    """Empty: toxicity.mean must fall, every perplexity ratio must stay within 1.05, empties must not rise by 0.05."""
    confidence: float = 0.95
    """Of every interval, (0.5, 1)."""
    sequential: SequentialGate | None = None
    """Measures all prompts if None."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("confidence", self.confidence, low=0.5, high=1, low_open=True, high_open=True)
            if self.sequential:
                check.that(
                    "sequential",
                    len(self.sequential_criteria) == 1 or not self.criteria,
                    f"needs one change or non-inferiority criterion on {SEQUENTIAL_METRIC} over all prompts",
                )

    @property
    def sequential_criteria(self) -> tuple[Criterion, ...]:
        """The criteria that a sequential measurement may decide."""
        return tuple(
            criterion
            for criterion in self.criteria
            if criterion.metric == SEQUENTIAL_METRIC
            and criterion.slice is CriterionSlice.ALL
            and not isinstance(criterion.rule, AbsoluteRule)
        )

    @property
    def sequential_bound(self) -> float:
        """What the difference of `toxicity.mean` must stay below; of a policy without criteria, that of the default."""
        match self.sequential_criteria:
            case (Criterion(rule=NonInferiorityRule(margin)), *_):
                return margin
            case (Criterion(rule=ChangeRule(bound)), *_):
                return bound
            case _:
                return 0.0

    @property
    def sequential_bound_is_good(self) -> bool:
        """Whether a difference on that bound would be good."""
        return any(isinstance(criterion.rule, NonInferiorityRule) for criterion in self.sequential_criteria)
