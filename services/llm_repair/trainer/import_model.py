"""Step `import_model`: brings a model into the store as a standard folder."""

from __future__ import annotations

from llm_repair.artifacts import importing
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import StepContext, StepOutput
from llm_repair.core.steps import ImportModelStep


def run(step: ImportModelStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Imports the model; errors are those of `artifacts.importing`. Output: `model`."""
    resolver = ReferenceResolver(context.allowed_roots, context.allowed_schemes, store)
    return importing.import_model(step, store, context, resolver)
