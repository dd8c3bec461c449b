from llm_repair.v1 import execution_pb2 as _execution_pb2
from llm_repair.v1 import selection_pb2 as _selection_pb2
from llm_repair.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EngineKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGINE_KIND_UNSPECIFIED: _ClassVar[EngineKind]
    ENGINE_KIND_TRANSFORMERS: _ClassVar[EngineKind]
    ENGINE_KIND_VLLM: _ClassVar[EngineKind]

class WeightFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHT_FORMAT_UNSPECIFIED: _ClassVar[WeightFormat]
    WEIGHT_FORMAT_FLOAT32: _ClassVar[WeightFormat]
    WEIGHT_FORMAT_BFLOAT16: _ClassVar[WeightFormat]

class DetoxifyVariant(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DETOXIFY_VARIANT_UNSPECIFIED: _ClassVar[DetoxifyVariant]
    DETOXIFY_VARIANT_ORIGINAL: _ClassVar[DetoxifyVariant]
    DETOXIFY_VARIANT_UNBIASED: _ClassVar[DetoxifyVariant]
    DETOXIFY_VARIANT_MULTILINGUAL: _ClassVar[DetoxifyVariant]

class CorpusLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CORPUS_LAYOUT_UNSPECIFIED: _ClassVar[CorpusLayout]
    CORPUS_LAYOUT_DOCUMENTS: _ClassVar[CorpusLayout]
    CORPUS_LAYOUT_WIKITEXT: _ClassVar[CorpusLayout]
    CORPUS_LAYOUT_RUNNING_TEXT: _ClassVar[CorpusLayout]
ENGINE_KIND_UNSPECIFIED: EngineKind
ENGINE_KIND_TRANSFORMERS: EngineKind
ENGINE_KIND_VLLM: EngineKind
WEIGHT_FORMAT_UNSPECIFIED: WeightFormat
WEIGHT_FORMAT_FLOAT32: WeightFormat
WEIGHT_FORMAT_BFLOAT16: WeightFormat
DETOXIFY_VARIANT_UNSPECIFIED: DetoxifyVariant
DETOXIFY_VARIANT_ORIGINAL: DetoxifyVariant
DETOXIFY_VARIANT_UNBIASED: DetoxifyVariant
DETOXIFY_VARIANT_MULTILINGUAL: DetoxifyVariant
CORPUS_LAYOUT_UNSPECIFIED: CorpusLayout
CORPUS_LAYOUT_DOCUMENTS: CorpusLayout
CORPUS_LAYOUT_WIKITEXT: CorpusLayout
CORPUS_LAYOUT_RUNNING_TEXT: CorpusLayout

class Engine(_message.Message):
    __slots__ = ("kind", "weights")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    kind: EngineKind
    weights: WeightFormat
    def __init__(self, kind: _Optional[_Union[EngineKind, str]] = ..., weights: _Optional[_Union[WeightFormat, str]] = ...) -> None: ...

class Judge(_message.Message):
    __slots__ = ("profanity", "hatesonar", "detoxify", "classifier", "digest")
    PROFANITY_FIELD_NUMBER: _ClassVar[int]
    HATESONAR_FIELD_NUMBER: _ClassVar[int]
    DETOXIFY_FIELD_NUMBER: _ClassVar[int]
    CLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    profanity: ProfanityJudge
    hatesonar: HatesonarJudge
    detoxify: DetoxifyJudge
    classifier: ClassifierJudge
    digest: str
    def __init__(self, profanity: _Optional[_Union[ProfanityJudge, _Mapping]] = ..., hatesonar: _Optional[_Union[HatesonarJudge, _Mapping]] = ..., detoxify: _Optional[_Union[DetoxifyJudge, _Mapping]] = ..., classifier: _Optional[_Union[ClassifierJudge, _Mapping]] = ..., digest: _Optional[str] = ...) -> None: ...

class ProfanityJudge(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HatesonarJudge(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelRef
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class DetoxifyJudge(_message.Message):
    __slots__ = ("variant", "model")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    variant: DetoxifyVariant
    model: _types_pb2.ModelRef
    def __init__(self, variant: _Optional[_Union[DetoxifyVariant, str]] = ..., model: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class ClassifierJudge(_message.Message):
    __slots__ = ("model", "toxic_labels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOXIC_LABELS_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelRef
    toxic_labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ..., toxic_labels: _Optional[_Iterable[str]] = ...) -> None: ...

class Protocol(_message.Message):
    __slots__ = ("strict", "paper")
    STRICT_FIELD_NUMBER: _ClassVar[int]
    PAPER_FIELD_NUMBER: _ClassVar[int]
    strict: StrictProtocol
    paper: PaperProtocol
    def __init__(self, strict: _Optional[_Union[StrictProtocol, _Mapping]] = ..., paper: _Optional[_Union[PaperProtocol, _Mapping]] = ...) -> None: ...

class StrictProtocol(_message.Message):
    __slots__ = ("draws", "max_new_tokens", "top_p", "temperature", "window_tokens", "stride_tokens")
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STRIDE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    draws: int
    max_new_tokens: int
    top_p: float
    temperature: float
    window_tokens: int
    stride_tokens: int
    def __init__(self, draws: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., top_p: _Optional[float] = ..., temperature: _Optional[float] = ..., window_tokens: _Optional[int] = ..., stride_tokens: _Optional[int] = ...) -> None: ...

class PaperProtocol(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Corpus(_message.Message):
    __slots__ = ("name", "texts", "layout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    texts: _types_pb2.DatasetRef
    layout: CorpusLayout
    def __init__(self, name: _Optional[str] = ..., texts: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ..., layout: _Optional[_Union[CorpusLayout, str]] = ...) -> None: ...

class ClozeSet(_message.Message):
    __slots__ = ("name", "texts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    texts: _types_pb2.DatasetRef
    def __init__(self, name: _Optional[str] = ..., texts: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ...) -> None: ...

class BiasPairs(_message.Message):
    __slots__ = ("name", "pairs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    name: str
    pairs: _types_pb2.DatasetRef
    def __init__(self, name: _Optional[str] = ..., pairs: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ...) -> None: ...

class PromptSet(_message.Message):
    __slots__ = ("name", "prompts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    prompts: _types_pb2.DatasetRef
    def __init__(self, name: _Optional[str] = ..., prompts: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("prompts", "judges", "corpora", "protocol", "engine", "cloze_sets", "bias_pairs", "prompt_sets", "calibration")
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    CORPORA_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    CLOZE_SETS_FIELD_NUMBER: _ClassVar[int]
    BIAS_PAIRS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_SETS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    prompts: _types_pb2.DatasetRef
    judges: _containers.RepeatedCompositeFieldContainer[Judge]
    corpora: _containers.RepeatedCompositeFieldContainer[Corpus]
    protocol: Protocol
    engine: Engine
    cloze_sets: _containers.RepeatedCompositeFieldContainer[ClozeSet]
    bias_pairs: _containers.RepeatedCompositeFieldContainer[BiasPairs]
    prompt_sets: _containers.RepeatedCompositeFieldContainer[PromptSet]
    calibration: _types_pb2.DatasetRef
    def __init__(self, prompts: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ..., judges: _Optional[_Iterable[_Union[Judge, _Mapping]]] = ..., corpora: _Optional[_Iterable[_Union[Corpus, _Mapping]]] = ..., protocol: _Optional[_Union[Protocol, _Mapping]] = ..., engine: _Optional[_Union[Engine, _Mapping]] = ..., cloze_sets: _Optional[_Iterable[_Union[ClozeSet, _Mapping]]] = ..., bias_pairs: _Optional[_Iterable[_Union[BiasPairs, _Mapping]]] = ..., prompt_sets: _Optional[_Iterable[_Union[PromptSet, _Mapping]]] = ..., calibration: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ...) -> None: ...

class CorpusArtifact(_message.Message):
    __slots__ = ("name", "digest", "layout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    layout: CorpusLayout
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., layout: _Optional[_Union[CorpusLayout, str]] = ...) -> None: ...

class DatasetArtifact(_message.Message):
    __slots__ = ("name", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class SequentialStop(_message.Message):
    __slots__ = ("base_evaluation_digest", "bound", "confidence", "first_look_prompts", "look_every_prompts", "bound_is_good")
    BASE_EVALUATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_LOOK_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    LOOK_EVERY_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    BOUND_IS_GOOD_FIELD_NUMBER: _ClassVar[int]
    base_evaluation_digest: str
    bound: float
    confidence: float
    first_look_prompts: int
    look_every_prompts: int
    bound_is_good: bool
    def __init__(self, base_evaluation_digest: _Optional[str] = ..., bound: _Optional[float] = ..., confidence: _Optional[float] = ..., first_look_prompts: _Optional[int] = ..., look_every_prompts: _Optional[int] = ..., bound_is_good: _Optional[bool] = ...) -> None: ...

class BuildPoolStep(_message.Message):
    __slots__ = ("model_digest", "prompts_digest", "judge", "engine", "draws", "max_new_tokens", "top_p", "temperature", "min_gap", "min_chosen_tokens", "seed")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MIN_GAP_FIELD_NUMBER: _ClassVar[int]
    MIN_CHOSEN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    prompts_digest: str
    judge: Judge
    engine: Engine
    draws: int
    max_new_tokens: int
    top_p: float
    temperature: float
    min_gap: float
    min_chosen_tokens: int
    seed: int
    def __init__(self, model_digest: _Optional[str] = ..., prompts_digest: _Optional[str] = ..., judge: _Optional[_Union[Judge, _Mapping]] = ..., engine: _Optional[_Union[Engine, _Mapping]] = ..., draws: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., top_p: _Optional[float] = ..., temperature: _Optional[float] = ..., min_gap: _Optional[float] = ..., min_chosen_tokens: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class SampleTextsStep(_message.Message):
    __slots__ = ("model_digest", "engine", "texts", "max_new_tokens", "top_p", "temperature", "seed")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    engine: Engine
    texts: int
    max_new_tokens: int
    top_p: float
    temperature: float
    seed: int
    def __init__(self, model_digest: _Optional[str] = ..., engine: _Optional[_Union[Engine, _Mapping]] = ..., texts: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., top_p: _Optional[float] = ..., temperature: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class OwnSamples(_message.Message):
    __slots__ = ("model_digest", "engine", "draws", "max_new_tokens", "top_p", "temperature", "failing_from", "seed")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    FAILING_FROM_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    engine: Engine
    draws: int
    max_new_tokens: int
    top_p: float
    temperature: float
    failing_from: float
    seed: int
    def __init__(self, model_digest: _Optional[str] = ..., engine: _Optional[_Union[Engine, _Mapping]] = ..., draws: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., top_p: _Optional[float] = ..., temperature: _Optional[float] = ..., failing_from: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class JudgePoolStep(_message.Message):
    __slots__ = ("pool_digest", "judge", "score", "samples")
    POOL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    pool_digest: str
    judge: Judge
    score: _selection_pb2.Score
    samples: OwnSamples
    def __init__(self, pool_digest: _Optional[str] = ..., judge: _Optional[_Union[Judge, _Mapping]] = ..., score: _Optional[_Union[_selection_pb2.Score, str]] = ..., samples: _Optional[_Union[OwnSamples, _Mapping]] = ...) -> None: ...

class EvaluateStep(_message.Message):
    __slots__ = ("model_digest", "prompts_digest", "corpora", "judges", "protocol", "engine", "seed", "cloze_sets", "bias_pairs", "prompt_sets", "calibration_digest", "sequential")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CORPORA_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CLOZE_SETS_FIELD_NUMBER: _ClassVar[int]
    BIAS_PAIRS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_SETS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEQUENTIAL_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    prompts_digest: str
    corpora: _containers.RepeatedCompositeFieldContainer[CorpusArtifact]
    judges: _containers.RepeatedCompositeFieldContainer[Judge]
    protocol: Protocol
    engine: Engine
    seed: int
    cloze_sets: _containers.RepeatedCompositeFieldContainer[DatasetArtifact]
    bias_pairs: _containers.RepeatedCompositeFieldContainer[DatasetArtifact]
    prompt_sets: _containers.RepeatedCompositeFieldContainer[DatasetArtifact]
    calibration_digest: str
    sequential: SequentialStop
    def __init__(self, model_digest: _Optional[str] = ..., prompts_digest: _Optional[str] = ..., corpora: _Optional[_Iterable[_Union[CorpusArtifact, _Mapping]]] = ..., judges: _Optional[_Iterable[_Union[Judge, _Mapping]]] = ..., protocol: _Optional[_Union[Protocol, _Mapping]] = ..., engine: _Optional[_Union[Engine, _Mapping]] = ..., seed: _Optional[int] = ..., cloze_sets: _Optional[_Iterable[_Union[DatasetArtifact, _Mapping]]] = ..., bias_pairs: _Optional[_Iterable[_Union[DatasetArtifact, _Mapping]]] = ..., prompt_sets: _Optional[_Iterable[_Union[DatasetArtifact, _Mapping]]] = ..., calibration_digest: _Optional[str] = ..., sequential: _Optional[_Union[SequentialStop, _Mapping]] = ...) -> None: ...

class CompareStep(_message.Message):
    __slots__ = ("base_evaluation_digest", "repaired_evaluation_digest", "confidence", "seed", "full_evaluation_digest")
    BASE_EVALUATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_EVALUATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FULL_EVALUATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    base_evaluation_digest: str
    repaired_evaluation_digest: str
    confidence: float
    seed: int
    full_evaluation_digest: str
    def __init__(self, base_evaluation_digest: _Optional[str] = ..., repaired_evaluation_digest: _Optional[str] = ..., confidence: _Optional[float] = ..., seed: _Optional[int] = ..., full_evaluation_digest: _Optional[str] = ...) -> None: ...

class ReportStep(_message.Message):
    __slots__ = ("dossier_digest",)
    DOSSIER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    dossier_digest: str
    def __init__(self, dossier_digest: _Optional[str] = ...) -> None: ...

class BuildPoolRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: BuildPoolStep
    def __init__(self, step: _Optional[_Union[BuildPoolStep, _Mapping]] = ...) -> None: ...

class BuildPoolResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class SampleTextsRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: SampleTextsStep
    def __init__(self, step: _Optional[_Union[SampleTextsStep, _Mapping]] = ...) -> None: ...

class SampleTextsResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class JudgePoolRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: JudgePoolStep
    def __init__(self, step: _Optional[_Union[JudgePoolStep, _Mapping]] = ...) -> None: ...

class JudgePoolResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: EvaluateStep
    def __init__(self, step: _Optional[_Union[EvaluateStep, _Mapping]] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: CompareStep
    def __init__(self, step: _Optional[_Union[CompareStep, _Mapping]] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: ReportStep
    def __init__(self, step: _Optional[_Union[ReportStep, _Mapping]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class EvaluationServiceCancelRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class EvaluationServiceCancelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
