"""How a probe has documents read: windows of the plan, progress, cancellation and the bill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.execution import StepContext
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.protocols.plan import Plan
from llm_repair.models.inference.scoring import Document, DocumentScore


@dataclass(frozen=True)
class Reading:
    """What reads, and how."""

    engine: Engine
    plan: Plan
    """With windows that the engine takes."""
    context: StepContext

    def scores(self, name: str, documents: Sequence[Document]) -> list[DocumentScore]:
        """Returns the score of every document, in their order; `name` is what a person sees being read."""
        total = sum(max(len(document.ids) - document.given, 0) for document in documents)

        def beat(done: int) -> None:
            self.context.raise_if_cancelled()
            self.context.progress(done, total, "tokens", stage=f"reading {name}")

        by_id = {
            score.document_id: score
            for score in self.engine.score(
                documents, self.plan.window_tokens, stride_tokens=self.plan.stride_tokens, beat=beat
            )
        }
        self.context.count(tokens=total)
        return [by_id[document.id] for document in documents]


def number_or_none(value: float) -> float | None:
    """Returns a likelihood as JSON has it: one that is not a number is missing."""
    return value if math.isfinite(value) else None
