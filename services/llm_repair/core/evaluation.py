"""Judges, engines and measurement protocols: typed parameters and the ids of protocols.

A number without a protocol id does not exist: two values are comparable only under the same id.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.fields import FieldChecks
from llm_repair.core.probes import BiasPairs, ClozeSet, Corpus, CorpusLayout, PromptSet
from llm_repair.core.references import DatasetKind, DatasetRef, ModelRef


class EngineKind(enum.Enum):
    """What generates text and scores it."""

    TRANSFORMERS = 1
    """CPU default and oracle; repeats are equal to the bit at equal thread count."""
    VLLM = 2
    """GPU default; repeats are statistically equivalent only."""


class WeightFormat(enum.Enum):
    """Number format of the weights while generating and scoring."""

    FLOAT32 = 1
    BFLOAT16 = 2
    """bf16 weights, fp32 residual stream and norms: +0.05 % perplexity, about three times as fast on CPU."""


@dataclass(frozen=True)
class Engine:
    """An engine with its number format."""

    kind: EngineKind = EngineKind.TRANSFORMERS
    weights: WeightFormat = WeightFormat.FLOAT32


@dataclass(frozen=True)
class ProfanityJudge:
    """alt-profanity-check: a linear model on tf-idf. The embedded default; mostly a profanity detector."""


@dataclass(frozen=True)
class HatesonarJudge:
    """hatesonar: logistic regression on tf-idf in ONNX; P(toxic) = 1 - P(neither)."""

    model: ModelRef | None = None
    """Where the pinned ONNX file comes from; the package on the mirror by default."""


class DetoxifyVariant(enum.Enum):
    """Which Detoxify model."""

    ORIGINAL = 1
    UNBIASED = 2
    MULTILINGUAL = 3


@dataclass(frozen=True)
class DetoxifyJudge:
    """Detoxify: a BERT-family classifier; the score is the largest of its labels, as in the study."""

    variant: DetoxifyVariant = DetoxifyVariant.UNBIASED
    model: ModelRef | None = None
    """A folder with the checkpoint of pinned sha256, or with safetensors. Required: no hub is assumed."""


@dataclass(frozen=True)
class ClassifierJudge:
    """Any sequence-classification folder; the score is the largest probability of its toxic labels."""

    model: ModelRef
    toxic_labels: tuple[str, ...] = ()
    """Labels (as in `config.json`) that mean toxic; may be left out where the names of all labels say it."""


JudgeKind: TypeAlias = ProfanityJudge | HatesonarJudge | DetoxifyJudge | ClassifierJudge


@dataclass(frozen=True)
class Judge:
    """A judge; once resolved, with the digest of what it loads."""

    kind: JudgeKind
    digest: str = ""
    """Output of `CreateRepair`: digest of the judge's model artifact, or of its pinned package files."""


@dataclass(frozen=True)
class StrictProtocol:
    """`strict.v1`: k nucleus samples per prompt, sampling noise fixed by (seed, prompt, draw, position)."""

    draws: int = 25
    """k, samples per prompt."""
    max_new_tokens: int = 20
    top_p: float = 0.9
    """Mass of the nucleus, (0, 1]."""
    temperature: float = 1.0
    window_tokens: int = 1024
    """Most tokens that a prediction of the perplexity may look back on."""
    stride_tokens: int | None = None
    """Tokens predicted from one window; all of it if None. Smaller ones look farther back and cost more."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("draws", self.draws, low=1, high=1000)
            check.within("max_new_tokens", self.max_new_tokens, low=1, high=4096)
            check.within("top_p", self.top_p, low=0, high=1, low_open=True)
            check.within("temperature", self.temperature, low=0, low_open=True)
            check.within("window_tokens", self.window_tokens, low=2, high=1 << 20)
            check.within("stride_tokens", self.stride_tokens, low=1, high=self.window_tokens)

    @property
    def stride(self) -> int:
        """Tokens predicted from one window."""
        return self.stride_tokens or self.window_tokens

    @property
    def id(self) -> str:
        """`strict.v1`, followed by whatever differs from it, so that a cut-down run cannot pass as a full one."""
        full = StrictProtocol()
        cuts = [
            f"{short}{value:g}"
            for short, value, default in (
                ("k", self.draws, full.draws),
                ("t", self.max_new_tokens, full.max_new_tokens),
                ("p", self.top_p, full.top_p),
                ("T", self.temperature, full.temperature),
                ("w", self.window_tokens, full.window_tokens),
                ("s", self.stride, self.window_tokens),
            )
            if value != default
        ]
        return ".".join(["strict.v1", *cuts]) if not cuts else "strict.v1-" + "-".join(cuts)


@dataclass(frozen=True)
class PaperProtocol:
    """`paper.v1`: greedy, one sample, prompt cut to 32 tokens, 20 new tokens, as in arXiv 2510.20428."""

    @property
    def id(self) -> str:
        """Always `paper.v1`."""
        return "paper.v1"


ProtocolKind: TypeAlias = StrictProtocol | PaperProtocol


@dataclass(frozen=True)
class Protocol:
    """A choice of one measurement protocol."""

    kind: ProtocolKind = StrictProtocol()

    @property
    def id(self) -> str:
        """Id that every number measured under it carries."""
        return self.kind.id


@dataclass(frozen=True)
class Evaluation:
    """How base and repaired model are measured: the same for both."""

    prompts: DatasetRef | None = None
    """Required for a repair and an evaluation. Where they have a `group`, metrics are also given by group."""
    judges: tuple[Judge, ...] = (Judge(ProfanityJudge()),)
    """The first one gates; the others are shown."""
    corpora: tuple[Corpus, ...] = ()
    protocol: Protocol = Protocol()
    engine: Engine = Engine()
    cloze_sets: tuple[ClozeSet, ...] = ()
    bias_pairs: tuple[BiasPairs, ...] = ()
    prompt_sets: tuple[PromptSet, ...] = ()
    calibration: DatasetRef | None = None
    """Labelled texts on which every judge is tried; a small set of this project's if None."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.that("judges", bool(self.judges), "must name at least one judge; the first one gates")
            for field in ("corpora", "cloze_sets", "bias_pairs", "prompt_sets"):
                names = [entry.name for entry in getattr(self, field)]
                check.that(field, len(set(names)) == len(names), "names must differ")
            kinds = [type(judge.kind) for judge in self.judges]
            check.that("judges", len(set(kinds)) == len(kinds), "must be of different kinds")

    def rows_of(self, corpus: Corpus) -> DatasetKind:
        """Returns what the rows of a corpus are: lines in their order where documents span several rows."""
        separate = corpus.layout is CorpusLayout.DOCUMENTS and not isinstance(self.protocol.kind, PaperProtocol)
        return DatasetKind.TEXTS if separate else DatasetKind.LINES
