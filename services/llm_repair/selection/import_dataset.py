"""Step `import_dataset`: brings a data set into the store as canonical rows, sorted by id."""

from __future__ import annotations

from llm_repair.artifacts import importing
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import StepContext, StepOutput
from llm_repair.core.steps import ImportDatasetStep


def run(step: ImportDatasetStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Imports the rows; errors are those of `artifacts.importing`. Output: `dataset`."""
    resolver = ReferenceResolver(context.allowed_roots, context.allowed_schemes, store)
    return importing.import_dataset(step, store, context, resolver)
