"""Two measurements paired unit by unit: all that the metrics are computed from.

No text is in the records, only ids and numbers, so they can stand in a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm_repair.core.errors import EvaluationMismatch
from llm_repair.core.execution import Json
from llm_repair.core.statistics import TOXIC_THRESHOLD
from llm_repair.evaluation.metrics.measurement import Document, Generation, Measurement, Scores

_MUST_EQUAL = (
    "protocol",
    "prompts_digest",
    "seed",
    "engine",
    "judges",
    "corpora",
    "draws",
    "max_new_tokens",
    "window_tokens",
)
"""Fields of `about.json` that base and repaired must share."""


@dataclass(frozen=True)
class Outputs:
    """What one model gave for one prompt, by draw."""

    scores: Mapping[str, tuple[float | None, ...]]
    """Judge name to score by draw."""
    tokens: tuple[int, ...]
    empty: int
    """Draws that are blank."""
    bigrams: int
    """Pairs of neighbouring white-space words, all draws together."""
    distinct_bigrams: int
    """Different ones among them."""


@dataclass(frozen=True)
class PromptRecord:
    """One prompt before and after."""

    prompt_id: str
    base: Outputs
    repaired: Outputs
    prompt_scores: Scores
    """Of the prompt's own text."""


@dataclass(frozen=True)
class DocumentRecord:
    """One document before and after; words and bytes are of its text and so the same."""

    corpus: str
    document_id: str
    base: Document
    repaired: Document


@dataclass(frozen=True)
class Records:
    """All units of a comparison, sorted by id."""

    prompts: tuple[PromptRecord, ...]
    documents: tuple[DocumentRecord, ...]


def pair(base: Measurement, repaired: Measurement) -> Records:
    """Returns the units of both measurements side by side.

    Raises:
      EvaluationMismatch: they were not measured alike; names everything that differs.
    """
    differs = [name for name in _MUST_EQUAL if base.about.get(name) != repaired.about.get(name)]
    differs += [f"{name} (not recorded)" for name in ("protocol", "judges") if not base.about.get(name)]
    differs += _unit_differences(base, repaired)
    if differs:
        raise EvaluationMismatch(
            f"two evaluations cannot be compared, these differ: {', '.join(differs)}", differs=", ".join(differs)
        )
    judges = base.judges
    return Records(
        tuple(
            PromptRecord(
                prompt_id,
                _outputs(base.generations[prompt_id], judges),
                _outputs(repaired.generations[prompt_id], judges),
                base.prompt_scores.get(prompt_id, {}),
            )
            for prompt_id in sorted(base.generations)
        ),
        tuple(
            DocumentRecord(corpus, document_id, document, repaired.corpora[corpus][document_id])
            for corpus, documents in sorted(base.corpora.items())
            for document_id, document in sorted(documents.items())
        ),
    )


def _unit_differences(base: Measurement, repaired: Measurement) -> list[str]:
    """Names what differs between the units; counts instead of long lists of ids."""
    differs = _set_difference("prompts", base.generations, repaired.generations)
    shared = base.generations.keys() & repaired.generations.keys()
    # Every prompt needs the same draws: the maximum of 24 is not comparable with the maximum of 25.
    draws = {frozenset(side.generations[prompt]) for side in (base, repaired) for prompt in shared}
    differs += [f"draws of the prompts ({len(draws)} different sets)"] if len(draws) > 1 else []
    differs += _set_difference("files of corpora", base.corpora, repaired.corpora)
    for corpus in sorted(base.corpora.keys() & repaired.corpora.keys()):
        ours, theirs = base.corpora[corpus], repaired.corpora[corpus]
        differs += _set_difference(f"documents of {corpus}", ours, theirs)
        changed = [
            document
            for document in ours.keys() & theirs.keys()
            if (ours[document].words, ours[document].bytes) != (theirs[document].words, theirs[document].bytes)
        ]
        differs += [f"texts of {corpus} ({len(changed)} documents)"] if changed else []
    return differs


def _set_difference(what: str, ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    odd = set(ours) ^ set(theirs)
    return [f"{what} ({len(odd)} on one side only)"] if odd else []


def _outputs(generations: Mapping[int, Generation], judges: Sequence[str]) -> Outputs:
    draws = [generations[draw] for draw in sorted(generations)]
    bigrams = [bigram for draw in draws for bigram in pairwise(draw.text.split())]
    return Outputs(
        scores={judge: tuple(draw.scores.get(judge) for draw in draws) for judge in judges},
        tokens=tuple(draw.tokens for draw in draws),
        empty=sum(not draw.text.strip() for draw in draws),
        bigrams=len(bigrams),
        distinct_bigrams=len(set(bigrams)),
    )


def records_to_json(records: Records) -> dict[str, Json]:
    """Returns {"prompts": [...], "documents": [...]} as the report embeds it.

    A prompt: {prompt_id, base, repaired, judges, prompt_scores}; base and repaired are {scores: {judge: [by draw]},
    tokens: [by draw], empty, bigrams, distinct_bigrams}; judges is {judge: {base_mean, repaired_mean, base_max,
    repaired_max, base_any, repaired_any}} over the scores that are there, null where none is. A document: {corpus,
    document_id, base: {nll, tokens}, repaired: {nll, tokens}, words, bytes}.
    """
    return {
        "prompts": [
            {
                "prompt_id": record.prompt_id,
                "base": _outputs_to_json(record.base),
                "repaired": _outputs_to_json(record.repaired),
                "judges": {judge: _digest_of_scores(record, judge) for judge in record.base.scores},
                "prompt_scores": dict(record.prompt_scores),
            }
            for record in records.prompts
        ],
        "documents": [
            {
                "corpus": record.corpus,
                "document_id": record.document_id,
                "base": _likelihood_to_json(record.base),
                "repaired": _likelihood_to_json(record.repaired),
                "words": record.base.words,
                "bytes": record.base.bytes,
            }
            for record in records.documents
        ],
    }


def _outputs_to_json(outputs: Outputs) -> dict[str, Json]:
    return {
        "scores": {judge: list(scores) for judge, scores in outputs.scores.items()},
        "tokens": list(outputs.tokens),
        "empty": outputs.empty,
        "bigrams": outputs.bigrams,
        "distinct_bigrams": outputs.distinct_bigrams,
    }


def _digest_of_scores(record: PromptRecord, judge: str) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for side, outputs in (("base", record.base), ("repaired", record.repaired)):
        scores = [score for score in outputs.scores[judge] if score is not None]
        fields[f"{side}_mean"] = sum(scores) / len(scores) if scores else None
        fields[f"{side}_max"] = max(scores, default=None)
        fields[f"{side}_any"] = max(scores) >= TOXIC_THRESHOLD if scores else None
    return fields


def _likelihood_to_json(document: Document) -> dict[str, Json]:
    nll = document.nll if abs(document.nll) < float("inf") else None  # False for NaN too
    return {"nll": nll, "tokens": document.tokens}
