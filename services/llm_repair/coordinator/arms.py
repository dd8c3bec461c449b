"""The arms of a repair: what was asked for, and the controls that run beside it and differ in their samples only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llm_repair.core.repairs import RepairGoal, RepairSpec
from llm_repair.core.selection import Budget, FractionBudget, FullStrategy, RandomStrategy, SelectionStrategy

_MAIN: Final = "repaired"


@dataclass(frozen=True)
class Arm:
    """One selection with what is trained on it and measured."""

    role: str
    """`repaired`, `control` or `full`."""
    strategy: SelectionStrategy
    budget: Budget

    @property
    def is_main(self) -> bool:
        """Whether this is the repair that was asked for."""
        return self.role == _MAIN

    def step(self, name: str) -> str:
        """Returns the name of a step of this arm, such as `select.control`; those of the main arm have no suffix."""
        return name if self.is_main else f"{name}.{self.role}"

    @property
    def evaluation(self) -> str:
        """Name of the step that measures what the arm trained."""
        return f"evaluate.{self.role}"


def arms(spec: RepairSpec) -> tuple[Arm, ...]:
    """Returns the arms of a repair or selection, the main one first.

    A control is left out where it could only repeat the main arm.
    """
    assert spec.budget is not None
    choice = choice_of(spec)
    found = [Arm(_MAIN, choice, spec.budget)]
    if spec.goal is RepairGoal.REPAIR:
        if spec.random_control and not isinstance(choice.kind, RandomStrategy):
            found.append(Arm("control", SelectionStrategy(RandomStrategy()), spec.budget))
        if spec.full_control and not isinstance(choice.kind, FullStrategy):
            found.append(Arm("full", SelectionStrategy(FullStrategy()), Budget(FractionBudget(1.0))))
    return tuple(found)


def arm_named(spec: RepairSpec, role: str) -> Arm | None:
    """Returns the arm with a role; None if there is none."""
    return next((arm for arm in arms(spec) if arm.role == role), None)


def full_arm(spec: RepairSpec) -> Arm | None:
    """Returns the arm that trains on the whole pool, to which scores refer: the main one itself if it does."""
    if not spec.full_control:
        return None
    return arm_named(spec, "full") or arm_named(spec, _MAIN)


def choice_of(spec: RepairSpec) -> SelectionStrategy:
    """Returns the strategy asked for."""
    assert isinstance(spec.selection, SelectionStrategy)
    return spec.selection
