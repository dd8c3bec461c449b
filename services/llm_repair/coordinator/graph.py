"""Planned steps, and how they wait for one another: a step is planned without its spec until all inputs are there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from llm_repair.core.execution import StepResult
from llm_repair.core.steps import Step


@dataclass(frozen=True)
class PlannedStep:
    """One step of a repair."""

    name: str
    """Within the repair, such as `evaluate.base`."""
    kind: str
    step: Step | None
    """None until all inputs are there."""


class Graph:
    """Collects the steps of a request."""

    def __init__(self, results: Mapping[str, StepResult]) -> None:
        """Begins without steps; `results` are those that are there, by step name."""
        self.results = results
        self.planned: list[PlannedStep] = []

    def output(self, name: str, role: str) -> str:
        """Returns the digest of what a step made; empty until it is committed."""
        result = self.results.get(name)
        return result.outputs[role].digest if result else ""

    def add(self, name: str, kind: type[Step], **inputs: object) -> None:
        """Plans a step.

        Inputs named `…_digest` must be there before it can run; one that is None never will be, and is left empty.
        """
        waits = any(field.endswith("_digest") and value == "" for field, value in inputs.items())
        given = {field: "" if field.endswith("_digest") and value is None else value for field, value in inputs.items()}
        self.planned.append(PlannedStep(name, kind.kind, None if waits else kind(**given)))  # pyright: ignore[reportCallIssue, reportArgumentType]

    def hold_back_until(self, *digests: str) -> None:
        """Makes the step planned last wait for inputs inside its values: for each until it is no longer empty."""
        if not all(digests):
            self.planned[-1] = dataclasses.replace(self.planned[-1], step=None)
