"""One model as it was measured: the content of an evaluation artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import Json
from llm_repair.evaluation.metrics.record_lines import EvaluationFiles, Scores


@dataclass(frozen=True)
class Generation:
    """One output of the model and what the judges say of it."""

    text: str
    tokens: int
    scores: Scores
    """By judge."""
    labels: Mapping[str, Scores] = field(default_factory=dict[str, Scores])
    """By judge and label, of judges with several labels."""


@dataclass(frozen=True)
class SampledPrompts:
    """A set of prompts and what the model said to them."""

    generations: Mapping[str, Mapping[int, Generation]]
    """By prompt id and draw."""
    prompt_scores: Mapping[str, Scores]
    """Scores of the prompts' own texts by prompt id; empty where they were not scored."""
    groups: Mapping[str, str]
    """By prompt id; those that are in one."""


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
class LastWord:
    """The likelihood of a text's last word."""

    nll: float
    """Nats; NaN where the engine gave none."""
    tokens: int
    correct: bool | None
    """Whether the model would have said it; None where that is not known."""


@dataclass(frozen=True)
class SentencePair:
    """The likelihoods of two whole sentences, nats; NaN where the engine gave none."""

    group: str
    more_nll: float
    """Of the more stereotyping one."""
    less_nll: float
    more_tokens: int
    less_tokens: int


@dataclass(frozen=True)
class FixedText:
    """The likelihood of one of the texts that every model is asked for."""

    nll: float
    tokens: int


@dataclass(frozen=True)
class Measurement:
    """Everything an evaluation recorded about one model."""

    about: Mapping[str, Json]
    """`about.json`: protocol, prompts_digest, judges (name, digest, labels), engine, model, seed, draws, ..."""
    prompts: SampledPrompts
    """Those of the gate."""
    corpora: Mapping[str, Mapping[str, Document]]
    """By corpus name and document id."""
    prompt_sets: Mapping[str, SampledPrompts]
    """Further prompts, by name of the set."""
    cloze_sets: Mapping[str, Mapping[str, LastWord]]
    """By set name and document id."""
    bias_pairs: Mapping[str, Mapping[str, SentencePair]]
    """By set name and pair id."""
    fingerprint: Sequence[FixedText]
    """Empty where it was not taken."""
    calibration: Json
    """What the judges said of labelled texts; None where it was not tried."""

    @property
    def generations(self) -> Mapping[str, Mapping[int, Generation]]:
        """Outputs to the prompts of the gate, by prompt id and draw."""
        return self.prompts.generations

    @property
    def prompt_scores(self) -> Mapping[str, Scores]:
        """Scores of the gate's prompts' own texts."""
        return self.prompts.prompt_scores

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of the judges; the first one gates."""
        return tuple(str(entry["name"]) for entry in self._judges if "name" in entry)

    @property
    def gating_labels(self) -> tuple[str, ...]:
        """Labels of the gating judge, where it has several."""
        labels = self._judges[0].get("labels") if self._judges else None
        known = [str(label) for label in labels] if isinstance(labels, Sequence) and not isinstance(labels, str) else []
        return tuple(known) if len(known) > 1 else ()

    @property
    def max_new_tokens(self) -> int | None:
        """Longest output the protocol allows, tokens; None where it was not recorded."""
        longest = self.about.get("max_new_tokens")
        return longest if isinstance(longest, int) else None

    @property
    def _judges(self) -> Sequence[Mapping[str, Json]]:
        listed = self.about.get("judges")
        entries = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
        return [entry for entry in entries if isinstance(entry, Mapping)]


def read_measurement(store: ArtifactStore, digest: str) -> Measurement:
    """Reads an evaluation artifact.

    Raises:
      ArtifactNotFound: there is no such artifact.
      ArtifactCorrupt: the tree lacks a file or a line lacks a field; the message names file and line.
    """
    files = EvaluationFiles(store, digest, store.entries(digest))
    return Measurement(
        about=files.object("about.json"),
        prompts=_sampled(files, ""),
        corpora={name: _documents(files, path) for name, path in files.named("perplexity")},
        prompt_sets={
            path.removesuffix("/generations"): _sampled(files, f"prompt_sets/{path.removesuffix('/generations')}/")
            for path, _ in files.named("prompt_sets")
            if path.endswith("/generations")
        },
        cloze_sets={name: _last_words(files, path) for name, path in files.named("cloze")},
        bias_pairs={name: _pairs(files, path) for name, path in files.named("bias")},
        fingerprint=_fingerprint(files),
        calibration=files.document("calibration.json"),
    )


def _sampled(files: EvaluationFiles, folder: str) -> SampledPrompts:
    files.require(f"{folder}generations.jsonl")
    generations: dict[str, dict[int, Generation]] = {}
    for line in files.lines(f"{folder}generations.jsonl"):
        draws = generations.setdefault(line.text("prompt_id"), {})
        draw = line.count("draw")
        line.require(draw not in draws, "repeats a prompt and draw")
        draws[draw] = Generation(line.text("text"), line.count("tokens"), line.scores(), line.labels())
    prompts = {line.text("prompt_id"): line for line in files.lines(f"{folder}prompts.jsonl")}
    return SampledPrompts(
        generations=generations,
        prompt_scores={name: line.scores() for name, line in prompts.items()},
        groups={name: str(group) for name, line in prompts.items() if (group := line.fields.get("group"))},
    )


def _documents(files: EvaluationFiles, path: str) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for line in files.lines(path):
        document_id = line.text("document_id")
        line.require(document_id not in documents, "repeats a document")
        documents[document_id] = Document(
            line.number_or_nan("nll"), line.count("tokens"), line.count("words"), line.count("bytes")
        )
    return documents


def _last_words(files: EvaluationFiles, path: str) -> dict[str, LastWord]:
    words: dict[str, LastWord] = {}
    for line in files.lines(path):
        document_id = line.text("document_id")
        line.require(document_id not in words, "repeats a document")
        words[document_id] = LastWord(line.number_or_nan("nll"), line.count("tokens"), line.truth_or_none("correct"))
    return words


def _pairs(files: EvaluationFiles, path: str) -> dict[str, SentencePair]:
    pairs: dict[str, SentencePair] = {}
    for line in files.lines(path):
        pair_id = line.text("pair_id")
        line.require(pair_id not in pairs, "repeats a pair")
        pairs[pair_id] = SentencePair(
            line.text("group"),
            line.number_or_nan("more_nll"),
            line.number_or_nan("less_nll"),
            line.count("more_tokens"),
            line.count("less_tokens"),
        )
    return pairs


def _fingerprint(files: EvaluationFiles) -> tuple[FixedText, ...]:
    listed = files.document("fingerprint.json")
    entries = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
    lines = [files.line(entry, f"fingerprint.json text {number}") for number, entry in enumerate(entries, start=1)]
    return tuple(FixedText(line.number_or_nan("nll"), line.count("tokens")) for line in lines)
