"""Puts a model to all probes of an evaluation: texts that it only reads.

Leaves in the evaluation's tree, a line a unit each, sorted by id:

  perplexity/<corpus>.jsonl   {document_id, nll, tokens, words, bytes}
  cloze/<set>.jsonl           {document_id, nll, tokens, correct} of the last word; correct if all its tokens are
                              likelier than every other
  bias/<set>.jsonl            {pair_id, group, more_nll, less_nll, more_tokens, less_tokens} of whole sentences
  fingerprint.json            [{nll, tokens}] of fixed texts: whether two evaluations were served different weights

A likelihood that is not a number is null, and so is what it would decide.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import Json, StepContext
from llm_repair.core.steps import CorpusArtifact, DatasetArtifact, EvaluateStep
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.parity import PROBE_TEXTS
from llm_repair.evaluation.json_files import write_json, write_lines
from llm_repair.evaluation.probes.bias import sentence_documents
from llm_repair.evaluation.probes.cloze import ClozeTexts, cloze_texts
from llm_repair.evaluation.probes.corpora import CountedDocument, corpus_documents
from llm_repair.evaluation.probes.reading import Reading, number_or_none
from llm_repair.evaluation.protocols.plan import Plan
from llm_repair.models.inference.scoring import Document, DocumentScore
from llm_repair.models.tokenisation import Tokenisation


@dataclass(frozen=True)
class Probes:
    """What there is to say of the probes beside their lines."""

    about: Mapping[str, Json]
    """For `about.json`: {window_tokens, stride_tokens, start_token}; the last says whether documents and sentences
    begin with the tokenizer's start token."""
    summary: Mapping[str, Json]
    """{perplexity, predicted_tokens} by corpus, {cloze_accuracy, bias_preference} by set."""
    warnings: Sequence[Mapping[str, Json]]
    """{kind: WINDOWS_CUT, window_tokens}; {kind: CLOZE_TEXTS_LEFT_OUT, set, texts}."""


def refuse_unreadable(engine: Engine, store: ArtifactStore, step: EvaluateStep, plan: Plan) -> None:
    """Passes texts that `read_probes` can read; a look ahead, since it comes when all samples have been made.

    Raises:
      DatasetInvalid: a corpus or set has nothing to predict.
    """
    fitting = _fitting(plan, engine)
    for corpus in step.corpora:
        _documents(corpus, store, engine.tokens, fitting)
    for cloze_set in step.cloze_sets:
        _cloze_texts(cloze_set, store, engine.tokens, fitting)


def read_probes(
    engine: Engine, store: ArtifactStore, step: EvaluateStep, plan: Plan, context: StepContext, folder: Path
) -> Probes:
    """Reads all texts of the step's probes and writes what came of them to `folder`.

    Raises:
      DatasetInvalid: a corpus or set has nothing to predict.
    """
    probing = _Probing(Reading(engine, _fitting(plan, engine), context), store, folder)
    window = probing.reading.plan.window_tokens
    if window < plan.window_tokens:
        context.note("perplexity windows cut to the model's context", window_tokens=window)
        probing.warnings.append({"kind": "WINDOWS_CUT", "window_tokens": window})
    write_json(folder / "fingerprint.json", probing.fingerprint())
    corpora = {corpus.name: probing.corpus(corpus) for corpus in step.corpora}
    return Probes(
        about={
            "window_tokens": window,
            "stride_tokens": probing.reading.plan.stride_tokens,
            "start_token": not plan.apart and bool(engine.tokens.start),
        },
        summary={
            "perplexity": {name: _perplexity(scores) for name, scores in corpora.items()},
            "predicted_tokens": {name: sum(score.tokens for score in scores) for name, scores in corpora.items()},
            "cloze_accuracy": {cloze_set.name: probing.cloze_set(cloze_set) for cloze_set in step.cloze_sets},
            "bias_preference": {pairs.name: probing.bias_pairs(pairs) for pairs in step.bias_pairs},
        },
        warnings=probing.warnings,
    )


def _fitting(plan: Plan, engine: Engine) -> Plan:
    """Returns the plan with windows that the engine takes."""
    window = min(plan.window_tokens, engine.longest_window_tokens)
    return dataclasses.replace(plan, window_tokens=window, stride_tokens=min(plan.stride_tokens, window))


@dataclass(frozen=True)
class _Probing:
    """Reads one probe after another, writes its lines, and returns what a person would ask for."""

    reading: Reading
    store: ArtifactStore
    folder: Path
    warnings: list[Mapping[str, Json]] = field(default_factory=list[Mapping[str, Json]])

    def fingerprint(self) -> list[Json]:
        engine = self.reading.engine
        encoded = engine.tokens.encode(PROBE_TEXTS, max_tokens=engine.longest_window_tokens)
        documents = [Document(f"{number:03d}", text.ids) for number, text in enumerate(encoded)]
        scores = self.reading.scores("fingerprint", documents)
        return [{"nll": number_or_none(score.nll), "tokens": score.tokens} for score in scores]

    def corpus(self, corpus: CorpusArtifact) -> Sequence[DocumentScore]:
        """Returns the scores of the documents."""
        documents = _documents(corpus, self.store, self.reading.engine.tokens, self.reading.plan)
        scores = self.reading.scores(corpus.name, [one.document for one in documents])
        lines = (
            {"document_id": score.document_id, **_likelihood(score), "words": counted.words, "bytes": counted.bytes}
            for counted, score in zip(documents, scores, strict=True)
        )
        write_lines(self.folder / "perplexity" / f"{corpus.name}.jsonl", lines)
        return scores

    def cloze_set(self, cloze_set: DatasetArtifact) -> float | None:
        """Returns the accuracy; None where a likelihood is not a number."""
        texts = _cloze_texts(cloze_set, self.store, self.reading.engine.tokens, self.reading.plan)
        if texts.unusable:
            left_out = len(texts.unusable)
            self.warnings.append({"kind": "CLOZE_TEXTS_LEFT_OUT", "set": cloze_set.name, "texts": left_out})
        scores = self.reading.scores(cloze_set.name, texts.documents)
        lines = ({"document_id": one.document_id, **_likelihood(one), "correct": _correct(one)} for one in scores)
        write_lines(self.folder / "cloze" / f"{cloze_set.name}.jsonl", lines)
        return _share([_correct(score) for score in scores])

    def bias_pairs(self, pairs: DatasetArtifact) -> float | None:
        """Returns the share of pairs whose stereotyping sentence is likelier, ties by half; None as above."""
        rows = read_rows(self.store, pairs.digest)
        documents = sentence_documents(rows, self.reading.engine.tokens)
        scores = self.reading.scores(pairs.name, [document for pair in documents for document in pair])
        both = list(zip(scores[::2], scores[1::2], strict=True))
        lines = (
            {
                "pair_id": row.id,
                "group": row.group,
                "more_nll": number_or_none(more.nll),
                "less_nll": number_or_none(less.nll),
                "more_tokens": more.tokens,
                "less_tokens": less.tokens,
            }
            for row, (more, less) in zip(rows, both, strict=True)
        )
        write_lines(self.folder / "bias" / f"{pairs.name}.jsonl", lines)
        return _share([_prefers(more, less) for more, less in both])


def _documents(corpus: CorpusArtifact, store: ArtifactStore, tokens: Tokenisation, plan: Plan) -> list[CountedDocument]:
    documents = corpus_documents(read_rows(store, corpus.digest), corpus.layout, tokens, plan)
    if not any(len(one.document.ids) > one.document.given for one in documents):
        raise DatasetInvalid(f"the corpus {corpus.name} has no token to predict", corpus=corpus.name)
    return documents


def _cloze_texts(cloze_set: DatasetArtifact, store: ArtifactStore, tokens: Tokenisation, plan: Plan) -> ClozeTexts:
    return cloze_texts(cloze_set.name, read_rows(store, cloze_set.digest), tokens, plan.window_tokens)


def _likelihood(score: DocumentScore) -> dict[str, Json]:
    return {"nll": number_or_none(score.nll), "tokens": score.tokens}


def _correct(score: DocumentScore) -> bool | None:
    return score.greedy if math.isfinite(score.nll) else None


def _prefers(more: DocumentScore, less: DocumentScore) -> float | None:
    if not (math.isfinite(more.nll) and math.isfinite(less.nll)):
        return None
    return 0.5 if more.nll == less.nll else float(more.nll < less.nll)


def _share(hits: Sequence[float | None]) -> float | None:
    known = [hit for hit in hits if hit is not None]
    return sum(known) / len(known) if known and len(known) == len(hits) else None


def _perplexity(scores: Sequence[DocumentScore]) -> float | None:
    mean = math.fsum(score.nll for score in scores) / sum(score.tokens for score in scores)
    return math.exp(mean) if mean < math.log(1e300) else None
