"""Steps: frozen specs of work, and the keys under which their results are filed.

A step names its inputs by digest and its parameters by value, so its key says everything that decides its
result. Two jobs that need the same step share one execution and one result.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import rfc8785

from llm_repair.core.evaluation import Engine, Judge, Protocol
from llm_repair.core.execution import Json
from llm_repair.core.probes import CorpusLayout
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef, ModelRole
from llm_repair.core.repair import RepairMethod
from llm_repair.core.selection import Budget, Score, SelectionStrategy, TextView


@dataclass(frozen=True)
class ImportModelStep:
    """Brings a model into the store as a standard folder: safetensors, config, tokenizer."""

    kind: ClassVar[str] = "import_model"
    version: ClassVar[int] = 1

    source: ModelRef
    source_digest: str
    """Content digest or commit the reference was resolved to; another content fails with SOURCE_CHANGED."""
    role: ModelRole


@dataclass(frozen=True)
class ImportDatasetStep:
    """Brings a data set into the store as canonical JSON lines, one row each, sorted by id."""

    kind: ClassVar[str] = "import_dataset"
    version: ClassVar[int] = 2

    source: DatasetRef
    source_digest: str
    rows: DatasetKind


@dataclass(frozen=True)
class BuildPoolStep:
    """Makes repair pairs from prompts: the model samples, the judge scores, (least toxic, most toxic) pair up."""

    kind: ClassVar[str] = "build_pool"
    version: ClassVar[int] = 2

    model_digest: str
    prompts_digest: str
    judge: Judge
    engine: Engine
    draws: int
    """Samples per prompt, at least 2."""
    max_new_tokens: int
    top_p: float
    temperature: float
    min_gap: float
    """A pair is kept when the judge scores differ by at least this much, [0, 1]."""
    min_chosen_tokens: int
    """The chosen continuation has at least so many tokens and is not blank."""
    seed: int


@dataclass(frozen=True)
class SampleTextsStep:
    """Samples texts from the start of a text on, as a picture of what the model says by itself."""

    kind: ClassVar[str] = "sample_texts"
    version: ClassVar[int] = 2

    model_digest: str
    engine: Engine
    texts: int
    max_new_tokens: int
    top_p: float
    temperature: float
    seed: int


@dataclass(frozen=True)
class OwnSamples:
    """The model's own samples on the prompts of a pool."""

    model_digest: str
    engine: Engine
    draws: int
    max_new_tokens: int
    top_p: float
    temperature: float
    failing_from: float
    """Judge score from which a sample counts as failing."""
    seed: int


@dataclass(frozen=True)
class JudgePoolStep:
    """Scores pool rows by a judge: their own text, or the model's samples on their prompts."""

    kind: ClassVar[str] = "judge_pool"
    version: ClassVar[int] = 2

    pool_digest: str
    judge: Judge
    score: Score
    """TOXICITY or FAILURE_RATE."""
    samples: OwnSamples | None = None
    """For FAILURE_RATE only."""


@dataclass(frozen=True)
class EmbedStep:
    """Embeds one text view of every pool row."""

    kind: ClassVar[str] = "embed"
    version: ClassVar[int] = 2

    pool_digest: str
    encoder_digest: str
    text_view: TextView


@dataclass(frozen=True)
class ScoreStep:
    """Scores the difficulty of every pool row at a model."""

    kind: ClassVar[str] = "score"
    version: ClassVar[int] = 3

    pool_digest: str
    score: Score
    method: RepairMethod
    """Whose loss is meant; see `core.scoring.scored_method`."""
    seed: int
    model_digest: str = ""
    """The model or its proxy; empty for INSTANCE_HARDNESS."""
    chosen_embeddings_digest: str = ""
    """For INSTANCE_HARDNESS."""
    rejected_embeddings_digest: str = ""


@dataclass(frozen=True)
class SelectStep:
    """Ranks the pool by a strategy and delivers exactly the budget."""

    kind: ClassVar[str] = "select"
    version: ClassVar[int] = 3

    pool_digest: str
    strategy: SelectionStrategy
    budget: Budget
    seed: int
    embeddings_digest: str = ""
    """Empty unless the strategy ranks by embeddings."""
    scores_digest: str = ""
    """Empty unless the ranking strategy goes by scores."""
    filter_scores_digests: tuple[str, ...] = ()
    """Of the filters around it, outermost first."""


@dataclass(frozen=True)
class OverlapStep:
    """Finds prompts of the evaluation that are in the pool too, the same or nearly so."""

    kind: ClassVar[str] = "overlap"
    version: ClassVar[int] = 1

    pool_digest: str
    prompts_digest: str
    min_similarity: float
    """Cosine from which two prompts count as nearly the same, (0, 1]."""
    pool_embeddings_digest: str = ""
    """Of the prompts of the pool; empty if only equal prompts are looked for."""
    prompts_embeddings_digest: str = ""
    """Of the prompts of the evaluation, by the same encoder; empty likewise."""


@dataclass(frozen=True)
class RepairStep:
    """Trains the model on the selected samples."""

    kind: ClassVar[str] = "repair"
    version: ClassVar[int] = 3

    model_digest: str
    pool_digest: str
    selection_digest: str
    method: RepairMethod
    seed: int
    utility_digest: str = ""
    """Texts for the KL term; empty unless the method has one."""


@dataclass(frozen=True)
class CorpusArtifact:
    """A corpus that has been imported."""

    name: str
    digest: str
    layout: CorpusLayout


@dataclass(frozen=True)
class DatasetArtifact:
    """A named data set that has been imported."""

    name: str
    digest: str


@dataclass(frozen=True)
class SequentialStop:
    """Ends a measurement as soon as the change of `toxicity.mean` is decided.

    Prompts are taken in an order that the seed shuffles. At every look the confidence sequence of the paired
    differences is held against the bound; it is valid at whatever look the measurement ends.
    """

    base_evaluation_digest: str
    """On the same prompts, under the same protocol and seed."""
    bound: float
    """What the difference must stay below."""
    confidence: float
    """Of the sequence, (0.5, 1)."""
    first_look_prompts: int
    look_every_prompts: int
    bound_is_good: bool = False
    """Whether a difference on the bound would be good: for "at most" yes, for "better than" no."""


@dataclass(frozen=True)
class EvaluateStep:
    """Measures one model: samples on prompts, judge scores, log-likelihoods of texts."""

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 3

    model_digest: str
    prompts_digest: str
    corpora: tuple[CorpusArtifact, ...]
    judges: tuple[Judge, ...]
    protocol: Protocol
    engine: Engine
    seed: int
    cloze_sets: tuple[DatasetArtifact, ...] = ()
    bias_pairs: tuple[DatasetArtifact, ...] = ()
    prompt_sets: tuple[DatasetArtifact, ...] = ()
    calibration_digest: str = ""
    """Labelled texts for the judges' calibration; the built-in set if empty."""
    sequential: SequentialStop | None = None
    """Measures all prompts if None."""


@dataclass(frozen=True)
class CompareStep:
    """Compares two evaluations prompt by prompt: paired changes with intervals.

    Apart from `evaluate`, so that a change of the statistics costs seconds and not a new measurement.
    """

    kind: ClassVar[str] = "compare"
    version: ClassVar[int] = 3

    base_evaluation_digest: str
    """Empty where one model is measured alone."""
    repaired_evaluation_digest: str
    confidence: float
    seed: int
    """Of the bootstrap."""
    full_evaluation_digest: str = ""
    """Of a model repaired with the whole pool, for scores that refer to one; empty if there is none."""


@dataclass(frozen=True)
class ReportStep:
    """Renders the report from what the other steps left."""

    kind: ClassVar[str] = "report"
    version: ClassVar[int] = 3

    dossier_digest: str
    """Blob with the JSON dossier the coordinator wrote: the repair, its steps, its bill and its verdict."""


@dataclass(frozen=True)
class PublishStep:
    """Makes the final tree: the same weights with model card and lineage."""

    kind: ClassVar[str] = "publish"
    version: ClassVar[int] = 2

    model_digest: str
    report_digest: str
    source: str
    """Reference of the base model, for the card."""


Step: TypeAlias = (
    ImportModelStep
    | ImportDatasetStep
    | BuildPoolStep
    | SampleTextsStep
    | JudgePoolStep
    | EmbedStep
    | ScoreStep
    | SelectStep
    | OverlapStep
    | RepairStep
    | EvaluateStep
    | CompareStep
    | ReportStep
    | PublishStep
)


def step_key(step: Step) -> str:
    """Returns the step's key: sha256 (64 hex digits) of its canonical JSON (RFC 8785)."""
    spec = {"kind": step.kind, "version": step.version, "spec": to_json(step)}
    return hashlib.sha256(rfc8785.dumps(spec)).hexdigest()  # pyright: ignore[reportArgumentType]


def to_json(value: Any) -> Json:
    """Returns a spec as plain JSON values.

    A dataclass becomes an object of its fields; one of several alternatives (`strategy`, `objective`) carries
    its class name under `type`, so that two alternatives with equal fields never share a key. Enums become
    their names, and None stays null.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case enum.Enum():
            return value.name
        case Mapping():
            return {str(k): to_json(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case Sequence():
            return [to_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _ if dataclasses.is_dataclass(value):
            fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {"type": type(value).__name__, **fields}
        case _:
            raise TypeError(f"{type(value).__name__} is not part of a spec")
