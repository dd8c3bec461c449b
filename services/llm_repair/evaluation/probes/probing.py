"""Puts a model to all probes of an evaluation: texts that it only reads.

Leaves in the evaluation's tree, a line a unit each:

  perplexity/<corpus>.jsonl   {document_id, nll, tokens, words, bytes}
  fingerprint.json            [{nll, tokens}] of fixed texts: whether two evaluations were served different weights

A likelihood that is not a number is null.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.steps import EvaluateStep
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.parity import PROBE_TEXTS
from llm_repair.evaluation.json_files import write_json, write_lines
from llm_repair.evaluation.probes.corpora import CountedDocument, corpus_documents
from llm_repair.evaluation.probes.reading import Reading, number_or_none
from llm_repair.evaluation.protocols.plan import Plan
from llm_repair.models.inference.scoring import Document, DocumentScore


@dataclass(frozen=True)
class Probes:
    """What there is to say of the probes beside their lines."""

    about: Mapping[str, Json]
    """For `about.json`: {window_tokens, stride_tokens, start_token}."""
    summary: Mapping[str, Json]
    """{perplexity, predicted_tokens}, each by corpus."""
    warnings: Sequence[Mapping[str, Json]]
    """{kind, ...}, each with counts."""


def read_probes(
    engine: Engine, store: ArtifactStore, step: EvaluateStep, plan: Plan, context: StepContext, folder: Path
) -> Probes:
    """Reads all probes of the step and writes what came of them to `folder`.

    Raises:
      DatasetInvalid: a probe has nothing to predict.
    """
    reading = Reading(engine, _fitting(plan, engine), context)
    write_json(folder / "fingerprint.json", _fingerprint(reading))
    warnings: list[Mapping[str, Json]] = []
    if reading.plan.window_tokens < plan.window_tokens:
        context.note("perplexity windows cut to the model's context", window_tokens=reading.plan.window_tokens)
        warnings.append({"kind": "WINDOWS_CUT", "window_tokens": reading.plan.window_tokens})
    summaries: dict[str, _CorpusSummary] = {}
    for corpus in step.corpora:
        documents = corpus_documents(read_rows(store, corpus.digest), corpus.layout, engine.tokens, reading.plan)
        if not any(len(one.document.ids) > one.document.given for one in documents):
            raise DatasetInvalid(f"the corpus {corpus.name} has no token to predict", corpus=corpus.name)
        scores = reading.scores(corpus.name, [one.document for one in documents])
        write_lines(folder / "perplexity" / f"{corpus.name}.jsonl", _document_lines(documents, scores))
        summaries[corpus.name] = _corpus_summary(scores)
    return Probes(
        about={
            "window_tokens": reading.plan.window_tokens,
            "stride_tokens": reading.plan.stride_tokens,
            "start_token": not plan.apart and bool(engine.tokens.start),
        },
        summary={
            "perplexity": {name: one.perplexity for name, one in summaries.items()},
            "predicted_tokens": {name: one.tokens for name, one in summaries.items()},
        },
        warnings=warnings,
    )


def _fitting(plan: Plan, engine: Engine) -> Plan:
    """Returns the plan with windows that the engine takes."""
    window = min(plan.window_tokens, engine.longest_window_tokens)
    return dataclasses.replace(plan, window_tokens=window, stride_tokens=min(plan.stride_tokens, window))


def _fingerprint(reading: Reading) -> list[Json]:
    encoded = reading.engine.tokens.encode(PROBE_TEXTS, max_tokens=reading.engine.longest_window_tokens)
    documents = [Document(f"{number:03d}", text.ids) for number, text in enumerate(encoded)]
    return [
        {"nll": number_or_none(score.nll), "tokens": score.tokens} for score in reading.scores("fingerprint", documents)
    ]


def _document_lines(documents: Sequence[CountedDocument], scores: Sequence[DocumentScore]) -> list[dict[str, Json]]:
    return [
        {
            "document_id": score.document_id,
            "nll": number_or_none(score.nll),
            "tokens": score.tokens,
            "words": counted.words,
            "bytes": counted.bytes,
        }
        for counted, score in zip(documents, scores, strict=True)
    ]


@dataclass(frozen=True)
class _CorpusSummary:
    perplexity: float | None
    tokens: int


def _corpus_summary(scores: Sequence[DocumentScore]) -> _CorpusSummary:
    tokens = sum(score.tokens for score in scores)
    mean = math.fsum(score.nll for score in scores) / tokens
    return _CorpusSummary(math.exp(mean) if mean < math.log(1e300) else None, tokens)
