"""The report step: a dossier becomes report.json, report.html and report.md."""

from __future__ import annotations

import json

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import StepContext, StepOutput
from llm_repair.core.steps import ReportStep
from llm_repair.evaluation.report.document import Document, report_document
from llm_repair.evaluation.report.examples import Texts, outputs
from llm_repair.evaluation.report.markdown import render_markdown
from llm_repair.evaluation.report.page import render_page
from llm_repair.evaluation.report.sources import Sources, read_sources


def run(step: ReportStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Renders the report from what the other steps left; output `report`, a tree of three files.

    Raises:
      ArtifactNotFound: the dossier names something that the store does not have.
      InvalidFields: a comparison holds something that is not a metric.
    """
    context.progress(0, 2, "files", stage="reading")
    sources = read_sources(store, step.dossier_digest)
    context.raise_if_cancelled()
    document = report_document(sources)
    context.progress(1, 2, "files", stage="rendering")
    files = {
        "report.json": _json(document),
        "report.html": render_page(document, example_texts(sources)).encode(),
        "report.md": render_markdown(document).encode(),
    }
    report = store.put_entries({name: store.put_bytes(data) for name, data in files.items()})
    context.progress(2, 2, "files", stage="rendering")
    return StepOutput(
        outputs={"report": report},
        summary={"verdict": document["verdict"], "bytes": {name: len(data) for name, data in files.items()}},
    )


def example_texts(sources: Sources) -> Texts:
    """Returns the texts from which the page picks its examples."""
    return Texts(
        prompts=sources.prompts,
        base=outputs(sources.generations.get("base", ())),
        repaired=outputs(sources.generations.get("repaired", ())),
    )


def _json(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
