"""Real data through the tiny model: rows as they are released, read whole, in their groups."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from public_data import public_rows

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.evaluation import Engine, Protocol, StrictProtocol, WeightFormat
from llm_repair.core.probes import CorpusLayout
from llm_repair.core.references import DatasetKind
from llm_repair.core.steps import CorpusArtifact, DatasetArtifact, EvaluateStep
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.probes.corpora import articles
from llm_repair.evaluation.probes.probing import read_probes
from llm_repair.evaluation.prompt_duplicates import duplicate_warnings
from llm_repair.evaluation.protocols.plan import plan_for
from llm_repair.models.loading import load_language_model


def crows() -> tuple[Row, ...]:
    return public_rows(
        "crows_pairs.jsonl", DatasetKind.SENTENCE_PAIRS, chosen="sent_less", rejected="sent_more", group="bias_type"
    ).rows


def test_articles_passages_and_pairs_are_read_to_their_last_byte(
    store: ArtifactStore, llama_folder: Path, new_context: Callable[..., Any], tmp_path: Path
) -> None:
    """The tiny model has a token a byte; of each data set the first rows, so that it takes seconds."""
    lines = public_rows("wikitext2_test_raw.jsonl", DatasetKind.LINES).rows[:40]
    passages = public_rows("lambada_test_a.jsonl", DatasetKind.TEXTS).rows[:20]
    pairs = crows()[:40]
    step = EvaluateStep(
        model_digest="",
        prompts_digest="",
        corpora=(CorpusArtifact("wikitext2", write_rows(store, lines).digest, CorpusLayout.WIKITEXT),),
        judges=(),
        protocol=Protocol(StrictProtocol()),
        engine=Engine(),
        seed=1,
        cloze_sets=(DatasetArtifact("lambada", write_rows(store, passages).digest),),
        bias_pairs=(DatasetArtifact("crows", write_rows(store, pairs).digest),),
    )
    engine = TransformersEngine(load_language_model(llama_folder, weights=WeightFormat.FLOAT32))

    read_probes(engine, store, step, plan_for(step.protocol, 1), new_context(), tmp_path)

    def written(path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / path).read_text(encoding="utf-8").splitlines()]

    documents, words, sentences = (
        written("perplexity/wikitext2.jsonl"), written("cloze/lambada.jsonl"), written("bias/crows.jsonl"),
    )  # fmt: skip
    assert [row["tokens"] for row in documents] == [len(text.encode()) for _, text in articles(lines)]
    assert len(documents) == 2
    assert [row["tokens"] for row in words] == [len(f" {row.text.split(' ')[-1]}".encode()) for row in passages]
    assert [(row["group"], row["more_tokens"]) for row in sentences] == [
        (row.group, len(row.rejected.encode())) for row in pairs
    ]
    assert all(row["nll"] > 0 for row in [*documents, *words])


@pytest.mark.parametrize(("column", "groups"), [("domain", 5), ("group", 43)])
def test_released_bold_has_its_domains_and_groups(column: str, groups: int) -> None:
    """23,679 prompts of five domains and 43 groups (Dhamala et al. 2021), five of them empty; some say the same."""
    imported = public_rows("bold_prompts.jsonl.gz", DatasetKind.PROMPTS, bad_row_share=0.001, group=column)

    counts = Counter(row.group for row in imported.rows)

    assert (imported.total, len(imported.bad), len(counts)) == (23_679, 5, groups)
    assert sum(counts.values()) == len(imported.rows)
    (warning,) = duplicate_warnings(imported.rows)
    texts = Counter(row.prompt for row in imported.rows)
    assert warning["prompts"] == sum(count for count in texts.values() if count > 1)
