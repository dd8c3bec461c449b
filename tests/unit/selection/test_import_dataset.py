"""The step as a worker runs it: a file under an allowed root becomes a data set artifact."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ReferenceNotAllowed
from llm_repair.core.references import DatasetKind, DatasetRef
from llm_repair.core.steps import ImportDatasetStep
from llm_repair.selection import import_dataset


@pytest.fixture
def step(tmp_path: Path, store: ArtifactStore, context: Any) -> ImportDatasetStep:
    source = tmp_path / "data" / "pool.jsonl"
    source.parent.mkdir()
    rows = [{"id": "b", "prompt": "p", "chosen": "c"}, {"id": "a", "prompt": "q", "chosen": "d", "rejected": "r"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    context.allowed_roots = (source.parent,)
    reference = f"file:{source}"
    digest = ReferenceResolver((source.parent,), ("file",), store).resolve(reference, is_dataset=True).digest
    return ImportDatasetStep(DatasetRef(reference), digest, DatasetKind.POOL)


def test_a_file_becomes_rows_sorted_by_id(step: ImportDatasetStep, store: ArtifactStore, context: Any) -> None:
    output = import_dataset.run(step, store, context)

    rows = read_rows(store, output.outputs["dataset"].digest)
    assert [(row.id, row.prompt, row.chosen, row.rejected) for row in rows] == [
        ("a", "q", "d", "r"),
        ("b", "p", "c", ""),
    ]


def test_the_roots_of_the_worker_bind(step: ImportDatasetStep, store: ArtifactStore, context: Any) -> None:
    context.allowed_roots = (context.workdir,)

    with pytest.raises(ReferenceNotAllowed):
        import_dataset.run(step, store, context)
