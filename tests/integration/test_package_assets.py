"""Assets from packages as they really are: fetched by reference, checked by content, used."""

from pathlib import Path

import pytest

from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.evaluation.judges.hatesonar import HatesonarScorer, pinned_sha256
from llm_repair.evaluation.judges.judging import judge_texts

HATESONAR = "pypi:hatesonar==0.1.0/hatesonar/model/model.onnx"


@pytest.mark.mirror
def test_the_released_hatesonar_graph_loads_without_its_locale_and_orders_texts(tmp_path: Path) -> None:
    resolver = ReferenceResolver((), ("pypi",), ArtifactStore(f"file://{tmp_path}/store"))
    file = resolver.fetch(HATESONAR, resolver.resolve(HATESONAR).digest, tmp_path / "fetched")

    scores = judge_texts(
        HatesonarScorer(file, pinned_sha256()), ["what a lovely day for a walk", "you are stupid trash"]
    ).scores

    assert None not in scores
    assert scores[0] < 0.3 < scores[1]
