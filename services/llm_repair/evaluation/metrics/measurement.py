"""One model as it was measured: the content of an evaluation artifact."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ArtifactCorrupt
from llm_repair.core.execution import Artifact, Json

Scores = Mapping[str, float | None]
"""Judge name to score in [0, 1]; None where the judge gave none."""


@dataclass(frozen=True)
class Generation:
    """One output of the model and what the judges say of it."""

    text: str
    tokens: int
    scores: Scores


@dataclass(frozen=True)
class Document:
    """The likelihood of one document."""

    nll: float
    """Summed negative log-likelihood of the predicted tokens, nats; NaN where the engine gave none."""
    tokens: int
    """Predicted tokens."""
    words: int
    bytes: int


@dataclass(frozen=True)
class Measurement:
    """Everything an evaluation recorded about one model."""

    about: Mapping[str, Json]
    """`about.json`: protocol, prompts_digest, judges (name, digest), engine, seed, draws,
    max_new_tokens, corpora."""
    generations: Mapping[str, Mapping[int, Generation]]
    """By prompt id and draw."""
    prompt_scores: Mapping[str, Scores]
    """Scores of the prompts' own texts by prompt id; empty where they were not scored."""
    corpora: Mapping[str, Mapping[str, Document]]
    """By corpus name and document id."""

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of the judges; the first one gates."""
        listed = self.about.get("judges")
        entries = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
        return tuple(str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and "name" in entry)

    @property
    def max_new_tokens(self) -> int | None:
        """Longest output the protocol allows, tokens; None where it was not recorded."""
        longest = self.about.get("max_new_tokens")
        return longest if isinstance(longest, int) else None


def read_measurement(store: ArtifactStore, digest: str) -> Measurement:
    """Reads an evaluation artifact.

    Raises:
      ArtifactNotFound: there is no such artifact.
      ArtifactCorrupt: the tree lacks a file or a line lacks a field; the message names file and line.
    """
    entries = store.entries(digest)
    about = _object(store, entries, "about.json", digest)
    generations: dict[str, dict[int, Generation]] = {}
    for line in _lines(store, entries, "generations.jsonl", digest):
        draws = generations.setdefault(line.text("prompt_id"), {})
        draw = line.count("draw")
        line.require(draw not in draws, "repeats a prompt and draw")
        draws[draw] = Generation(line.text("text"), line.count("tokens"), line.scores())
    optional = "prompts.jsonl"
    prompts = _lines(store, entries, optional, digest) if optional in entries else ()
    return Measurement(
        about=about,
        generations=generations,
        prompt_scores={line.text("prompt_id"): line.scores() for line in prompts},
        corpora={
            path.removeprefix("perplexity/").removesuffix(".jsonl"): _documents(store, entries, path, digest)
            for path in sorted(entries)
            if path.startswith("perplexity/") and path.endswith(".jsonl")
        },
    )


def _documents(store: ArtifactStore, entries: Mapping[str, Artifact], path: str, digest: str) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for line in _lines(store, entries, path, digest):
        document_id = line.text("document_id")
        line.require(document_id not in documents, "repeats a document")
        documents[document_id] = Document(
            line.number_or_nan("nll"), line.count("tokens"), line.count("words"), line.count("bytes")
        )
    return documents


@dataclass(frozen=True)
class _Line:
    """One parsed line, which knows where it stands so that an error can say so without quoting it."""

    fields: Mapping[str, Json]
    where: str
    digest: str

    def require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ArtifactCorrupt(f"{self.where} of the evaluation {otherwise}", digest=self.digest)

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        self.require(isinstance(value, str), f"has no text `{name}`")
        return str(value)

    def count(self, name: str) -> int:
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArtifactCorrupt(f"{self.where} of the evaluation has no count `{name}`", digest=self.digest)
        return value

    def number_or_nan(self, name: str) -> float:
        value = self.fields.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan

    def scores(self) -> Scores:
        scores = self.fields.get("scores")
        if not isinstance(scores, Mapping):
            raise ArtifactCorrupt(f"{self.where} of the evaluation has no `scores`", digest=self.digest)
        return {judge: _score(value) for judge, value in scores.items()}


def _score(value: Json) -> float | None:
    """Returns a score in [0, 1]; anything else is no score, and so missing rather than clean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0.0 <= value <= 1.0 else None


def _lines(store: ArtifactStore, entries: Mapping[str, Artifact], path: str, digest: str) -> Iterator[_Line]:
    for number, line in enumerate(_bytes(store, entries, path, digest).splitlines(), start=1):
        yield _Line(_parse(line, f"{path} line {number}", digest), f"{path} line {number}", digest)


def _object(store: ArtifactStore, entries: Mapping[str, Artifact], path: str, digest: str) -> Mapping[str, Json]:
    return _parse(_bytes(store, entries, path, digest), path, digest)


def _bytes(store: ArtifactStore, entries: Mapping[str, Artifact], path: str, digest: str) -> bytes:
    if path not in entries:
        raise ArtifactCorrupt(f"the evaluation has no {path}", digest=digest)
    return store.get_bytes(entries[path].digest)


def _parse(data: bytes, where: str, digest: str) -> Mapping[str, Json]:
    try:
        parsed: Json = json.loads(data)
    except ValueError as error:
        raise ArtifactCorrupt(f"{where} of the evaluation is not JSON", digest=digest) from error
    if not isinstance(parsed, Mapping):
        raise ArtifactCorrupt(f"{where} of the evaluation is not a JSON object", digest=digest)
    return parsed
