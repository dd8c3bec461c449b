"""Two measurements paired unit by unit: all that the metrics are computed from.

No text is in the records, only ids and numbers, so they can stand in a report.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from llm_repair.core.execution import Json
from llm_repair.core.statistics import TOXIC_THRESHOLD
from llm_repair.evaluation.metrics.likenesses import refuse_unlike
from llm_repair.evaluation.metrics.measurement import (
    Document,
    LastWord,
    Measurement,
    SampledPrompts,
    SentencePair,
)
from llm_repair.evaluation.metrics.outputs import Outputs, outputs_of, outputs_to_json
from llm_repair.evaluation.metrics.record_lines import Scores


@dataclass(frozen=True)
class PromptRecord:
    """One prompt before and after."""

    prompt_id: str
    base: Outputs
    repaired: Outputs
    prompt_scores: Scores
    """Of the prompt's own text."""
    group: str = ""


@dataclass(frozen=True)
class DocumentRecord:
    """One document before and after; words and bytes are of its text and so the same."""

    corpus: str
    document_id: str
    base: Document
    repaired: Document


@dataclass(frozen=True)
class ClozeRecord:
    """One text's last word before and after."""

    cloze_set: str
    document_id: str
    base: LastWord
    repaired: LastWord


@dataclass(frozen=True)
class PairRecord:
    """One pair of sentences before and after."""

    bias_pairs: str
    pair_id: str
    group: str
    base: SentencePair
    repaired: SentencePair


@dataclass(frozen=True)
class Records:
    """All units of a comparison, each kind sorted by the name of its set and by id."""

    prompts: tuple[PromptRecord, ...]
    documents: tuple[DocumentRecord, ...]
    prompt_sets: Mapping[str, tuple[PromptRecord, ...]] = field(default_factory=dict[str, tuple[PromptRecord, ...]])
    cloze: tuple[ClozeRecord, ...] = ()
    pairs: tuple[PairRecord, ...] = ()


def pair(base: Measurement, repaired: Measurement) -> Records:
    """Returns the units of both measurements side by side; of the gate's prompts those that both have measured.

    Raises:
      EvaluationMismatch: they were not measured alike; names everything that differs.
    """
    refuse_unlike(base, repaired)
    judges, labels = base.judges, base.gating_labels
    return Records(
        prompts=tuple(_prompt_records(base.prompts, repaired.prompts, judges, labels)),
        documents=tuple(
            DocumentRecord(corpus, document_id, document, repaired.corpora[corpus][document_id])
            for corpus, documents in sorted(base.corpora.items())
            for document_id, document in sorted(documents.items())
        ),
        prompt_sets={
            name: tuple(_prompt_records(prompts, repaired.prompt_sets[name], judges, labels))
            for name, prompts in sorted(base.prompt_sets.items())
        },
        cloze=tuple(
            ClozeRecord(name, document_id, word, repaired.cloze_sets[name][document_id])
            for name, words in sorted(base.cloze_sets.items())
            for document_id, word in sorted(words.items())
        ),
        pairs=tuple(
            PairRecord(name, pair_id, own.group, own, repaired.bias_pairs[name][pair_id])
            for name, pairs in sorted(base.bias_pairs.items())
            for pair_id, own in sorted(pairs.items())
        ),
    )


def _prompt_records(
    base: SampledPrompts, repaired: SampledPrompts, judges: Sequence[str], labels: Sequence[str]
) -> Iterator[PromptRecord]:
    for prompt_id in sorted(base.generations.keys() & repaired.generations.keys()):
        yield PromptRecord(
            prompt_id,
            outputs_of(base.generations[prompt_id], judges, labels),
            outputs_of(repaired.generations[prompt_id], judges, labels),
            base.prompt_scores.get(prompt_id, {}),
            base.groups.get(prompt_id, ""),
        )


def by_group(records: Sequence[PromptRecord]) -> dict[str, list[PromptRecord]]:
    """Returns the records of every group, by its name; those without a group are in none."""
    ordered = sorted((record for record in records if record.group), key=lambda record: record.group)
    return {group: list(own) for group, own in itertools.groupby(ordered, key=lambda record: record.group)}


def records_to_json(records: Records, *, alone: bool = False) -> dict[str, Json]:
    """Returns the records as the report embeds them; `base` is null in all of them where a model is measured alone.

    prompts      {prompt_id, group, base, repaired, judges, prompt_scores}; base and repaired as `outputs_to_json`;
                 judges is {judge: {base_mean, repaired_mean, base_max, repaired_max, base_any, repaired_any}} over the
                 scores that are there, null where none is
    prompt_sets  the same by name of the set
    documents    {corpus, document_id, base: {nll, tokens}, repaired: {nll, tokens}, words, bytes}
    cloze        {cloze_set, document_id, base: {nll, tokens, correct}, repaired: {nll, tokens, correct}}
    pairs        {bias_pairs, pair_id, group, base: {more_nll, less_nll}, repaired: {more_nll, less_nll}}
    """
    sets = records.prompt_sets.items()
    return {
        "prompts": [_prompt_to_json(record, alone) for record in records.prompts],
        "prompt_sets": {name: [_prompt_to_json(record, alone) for record in own] for name, own in sets},
        "documents": [_document_to_json(record, alone) for record in records.documents],
        "cloze": [_cloze_to_json(record, alone) for record in records.cloze],
        "pairs": [_pair_to_json(record, alone) for record in records.pairs],
    }


def _prompt_to_json(record: PromptRecord, alone: bool) -> dict[str, Json]:
    sides = {"base": None if alone else record.base, "repaired": record.repaired}
    return {
        "prompt_id": record.prompt_id,
        "group": record.group,
        **{side: outputs and outputs_to_json(outputs) for side, outputs in sides.items()},
        "judges": {judge: _digest_of_scores(sides, judge) for judge in record.base.scores},
        "prompt_scores": dict(record.prompt_scores),
    }


def _digest_of_scores(sides: Mapping[str, Outputs | None], judge: str) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for side, outputs in sides.items():
        scores = [score for score in outputs.scores[judge] if score is not None] if outputs else []
        fields[f"{side}_mean"] = sum(scores) / len(scores) if scores else None
        fields[f"{side}_max"] = max(scores, default=None)
        fields[f"{side}_any"] = max(scores) >= TOXIC_THRESHOLD if scores else None
    return fields


def _document_to_json(record: DocumentRecord, alone: bool) -> dict[str, Json]:
    def likelihood(document: Document) -> dict[str, Json]:
        return {"nll": _finite(document.nll), "tokens": document.tokens}

    return {
        "corpus": record.corpus,
        "document_id": record.document_id,
        "base": None if alone else likelihood(record.base),
        "repaired": likelihood(record.repaired),
        "words": record.base.words,
        "bytes": record.base.bytes,
    }


def _cloze_to_json(record: ClozeRecord, alone: bool) -> dict[str, Json]:
    def likelihood(word: LastWord) -> dict[str, Json]:
        return {"nll": _finite(word.nll), "tokens": word.tokens, "correct": word.correct}

    return {
        "cloze_set": record.cloze_set,
        "document_id": record.document_id,
        "base": None if alone else likelihood(record.base),
        "repaired": likelihood(record.repaired),
    }


def _pair_to_json(record: PairRecord, alone: bool) -> dict[str, Json]:
    def likelihoods(sentences: SentencePair) -> dict[str, Json]:
        return {"more_nll": _finite(sentences.more_nll), "less_nll": _finite(sentences.less_nll)}

    return {
        "bias_pairs": record.bias_pairs,
        "pair_id": record.pair_id,
        "group": record.group,
        "base": None if alone else likelihoods(record.base),
        "repaired": likelihoods(record.repaired),
    }


def _finite(nll: float) -> float | None:
    return nll if abs(nll) < float("inf") else None  # False for NaN too
