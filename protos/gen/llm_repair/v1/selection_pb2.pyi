from llm_repair.v1 import execution_pb2 as _execution_pb2
from llm_repair.v1 import trainer_pb2 as _trainer_pb2
from llm_repair.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TextView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEXT_VIEW_UNSPECIFIED: _ClassVar[TextView]
    TEXT_VIEW_PROMPT: _ClassVar[TextView]
    TEXT_VIEW_REJECTED: _ClassVar[TextView]
    TEXT_VIEW_CHOSEN: _ClassVar[TextView]
    TEXT_VIEW_PROMPT_REJECTED: _ClassVar[TextView]
    TEXT_VIEW_PROMPT_CHOSEN: _ClassVar[TextView]

class Allocation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALLOCATION_UNSPECIFIED: _ClassVar[Allocation]
    ALLOCATION_PROPORTIONAL: _ClassVar[Allocation]
    ALLOCATION_EQUAL: _ClassVar[Allocation]

class Score(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_UNSPECIFIED: _ClassVar[Score]
    SCORE_GRAND: _ClassVar[Score]
    SCORE_EL2N: _ClassVar[Score]
    SCORE_LOSS: _ClassVar[Score]
    SCORE_AUM: _ClassVar[Score]
    SCORE_FORGETTING: _ClassVar[Score]
    SCORE_TOXICITY: _ClassVar[Score]
    SCORE_FAILURE_RATE: _ClassVar[Score]
    SCORE_INSTANCE_HARDNESS: _ClassVar[Score]

class SelectionPreset(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SELECTION_PRESET_UNSPECIFIED: _ClassVar[SelectionPreset]
    SELECTION_PRESET_DEFAULT: _ClassVar[SelectionPreset]
    SELECTION_PRESET_PAPER: _ClassVar[SelectionPreset]
TEXT_VIEW_UNSPECIFIED: TextView
TEXT_VIEW_PROMPT: TextView
TEXT_VIEW_REJECTED: TextView
TEXT_VIEW_CHOSEN: TextView
TEXT_VIEW_PROMPT_REJECTED: TextView
TEXT_VIEW_PROMPT_CHOSEN: TextView
ALLOCATION_UNSPECIFIED: Allocation
ALLOCATION_PROPORTIONAL: Allocation
ALLOCATION_EQUAL: Allocation
SCORE_UNSPECIFIED: Score
SCORE_GRAND: Score
SCORE_EL2N: Score
SCORE_LOSS: Score
SCORE_AUM: Score
SCORE_FORGETTING: Score
SCORE_TOXICITY: Score
SCORE_FAILURE_RATE: Score
SCORE_INSTANCE_HARDNESS: Score
SELECTION_PRESET_UNSPECIFIED: SelectionPreset
SELECTION_PRESET_DEFAULT: SelectionPreset
SELECTION_PRESET_PAPER: SelectionPreset

class SelectionStrategy(_message.Message):
    __slots__ = ("random", "full", "k_center", "grand", "el2n", "loss", "ccs", "saps", "cluster_random", "learnability", "hardness_filter", "preset")
    RANDOM_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    K_CENTER_FIELD_NUMBER: _ClassVar[int]
    GRAND_FIELD_NUMBER: _ClassVar[int]
    EL2N_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    CCS_FIELD_NUMBER: _ClassVar[int]
    SAPS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_RANDOM_FIELD_NUMBER: _ClassVar[int]
    LEARNABILITY_FIELD_NUMBER: _ClassVar[int]
    HARDNESS_FILTER_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    random: RandomStrategy
    full: FullStrategy
    k_center: KCenterStrategy
    grand: GrandStrategy
    el2n: El2nStrategy
    loss: LossStrategy
    ccs: CcsStrategy
    saps: SapsStrategy
    cluster_random: ClusterRandomStrategy
    learnability: LearnabilityStrategy
    hardness_filter: HardnessFilterStrategy
    preset: SelectionPreset
    def __init__(self, random: _Optional[_Union[RandomStrategy, _Mapping]] = ..., full: _Optional[_Union[FullStrategy, _Mapping]] = ..., k_center: _Optional[_Union[KCenterStrategy, _Mapping]] = ..., grand: _Optional[_Union[GrandStrategy, _Mapping]] = ..., el2n: _Optional[_Union[El2nStrategy, _Mapping]] = ..., loss: _Optional[_Union[LossStrategy, _Mapping]] = ..., ccs: _Optional[_Union[CcsStrategy, _Mapping]] = ..., saps: _Optional[_Union[SapsStrategy, _Mapping]] = ..., cluster_random: _Optional[_Union[ClusterRandomStrategy, _Mapping]] = ..., learnability: _Optional[_Union[LearnabilityStrategy, _Mapping]] = ..., hardness_filter: _Optional[_Union[HardnessFilterStrategy, _Mapping]] = ..., preset: _Optional[_Union[SelectionPreset, str]] = ...) -> None: ...

class RandomStrategy(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FullStrategy(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KCenterStrategy(_message.Message):
    __slots__ = ("text_view", "pca_components")
    TEXT_VIEW_FIELD_NUMBER: _ClassVar[int]
    PCA_COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    text_view: TextView
    pca_components: int
    def __init__(self, text_view: _Optional[_Union[TextView, str]] = ..., pca_components: _Optional[int] = ...) -> None: ...

class GrandStrategy(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class El2nStrategy(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LossStrategy(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CcsStrategy(_message.Message):
    __slots__ = ("score", "hard_cutoff", "strata", "stratum_edges", "dynamics_epochs")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    HARD_CUTOFF_FIELD_NUMBER: _ClassVar[int]
    STRATA_FIELD_NUMBER: _ClassVar[int]
    STRATUM_EDGES_FIELD_NUMBER: _ClassVar[int]
    DYNAMICS_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    score: Score
    hard_cutoff: float
    strata: int
    stratum_edges: _containers.RepeatedScalarFieldContainer[float]
    dynamics_epochs: int
    def __init__(self, score: _Optional[_Union[Score, str]] = ..., hard_cutoff: _Optional[float] = ..., strata: _Optional[int] = ..., stratum_edges: _Optional[_Iterable[float]] = ..., dynamics_epochs: _Optional[int] = ...) -> None: ...

class SapsStrategy(_message.Message):
    __slots__ = ("text_view", "pca_components", "clusters", "boundary_fraction", "allocation")
    TEXT_VIEW_FIELD_NUMBER: _ClassVar[int]
    PCA_COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_FRACTION_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    text_view: TextView
    pca_components: int
    clusters: int
    boundary_fraction: float
    allocation: Allocation
    def __init__(self, text_view: _Optional[_Union[TextView, str]] = ..., pca_components: _Optional[int] = ..., clusters: _Optional[int] = ..., boundary_fraction: _Optional[float] = ..., allocation: _Optional[_Union[Allocation, str]] = ...) -> None: ...

class ClusterRandomStrategy(_message.Message):
    __slots__ = ("text_view", "pca_components", "clusters")
    TEXT_VIEW_FIELD_NUMBER: _ClassVar[int]
    PCA_COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    text_view: TextView
    pca_components: int
    clusters: int
    def __init__(self, text_view: _Optional[_Union[TextView, str]] = ..., pca_components: _Optional[int] = ..., clusters: _Optional[int] = ...) -> None: ...

class LearnabilityStrategy(_message.Message):
    __slots__ = ("low", "high", "then", "draws", "max_new_tokens", "failing_from")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FAILING_FROM_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    then: SelectionStrategy
    draws: int
    max_new_tokens: int
    failing_from: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ..., then: _Optional[_Union[SelectionStrategy, _Mapping]] = ..., draws: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., failing_from: _Optional[float] = ...) -> None: ...

class HardnessFilterStrategy(_message.Message):
    __slots__ = ("max_hardness", "then")
    MAX_HARDNESS_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    max_hardness: float
    then: SelectionStrategy
    def __init__(self, max_hardness: _Optional[float] = ..., then: _Optional[_Union[SelectionStrategy, _Mapping]] = ...) -> None: ...

class AutoSearch(_message.Message):
    __slots__ = ("strategies", "fractions", "reduction", "finalists", "selection_share", "toxicity_margin", "perplexity_margin")
    STRATEGIES_FIELD_NUMBER: _ClassVar[int]
    FRACTIONS_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FIELD_NUMBER: _ClassVar[int]
    FINALISTS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_SHARE_FIELD_NUMBER: _ClassVar[int]
    TOXICITY_MARGIN_FIELD_NUMBER: _ClassVar[int]
    PERPLEXITY_MARGIN_FIELD_NUMBER: _ClassVar[int]
    strategies: _containers.RepeatedCompositeFieldContainer[SelectionStrategy]
    fractions: _containers.RepeatedScalarFieldContainer[float]
    reduction: int
    finalists: int
    selection_share: float
    toxicity_margin: float
    perplexity_margin: float
    def __init__(self, strategies: _Optional[_Iterable[_Union[SelectionStrategy, _Mapping]]] = ..., fractions: _Optional[_Iterable[float]] = ..., reduction: _Optional[int] = ..., finalists: _Optional[int] = ..., selection_share: _Optional[float] = ..., toxicity_margin: _Optional[float] = ..., perplexity_margin: _Optional[float] = ...) -> None: ...

class ImportDatasetStep(_message.Message):
    __slots__ = ("source", "source_digest", "rows")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    source: _types_pb2.DatasetRef
    source_digest: str
    rows: _types_pb2.DatasetKind
    def __init__(self, source: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ..., source_digest: _Optional[str] = ..., rows: _Optional[_Union[_types_pb2.DatasetKind, str]] = ...) -> None: ...

class EmbedStep(_message.Message):
    __slots__ = ("pool_digest", "encoder_digest", "text_view")
    POOL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TEXT_VIEW_FIELD_NUMBER: _ClassVar[int]
    pool_digest: str
    encoder_digest: str
    text_view: TextView
    def __init__(self, pool_digest: _Optional[str] = ..., encoder_digest: _Optional[str] = ..., text_view: _Optional[_Union[TextView, str]] = ...) -> None: ...

class ScoreStep(_message.Message):
    __slots__ = ("pool_digest", "model_digest", "score", "method", "seed", "chosen_embeddings_digest", "rejected_embeddings_digest")
    POOL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_EMBEDDINGS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REJECTED_EMBEDDINGS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    pool_digest: str
    model_digest: str
    score: Score
    method: _trainer_pb2.RepairMethod
    seed: int
    chosen_embeddings_digest: str
    rejected_embeddings_digest: str
    def __init__(self, pool_digest: _Optional[str] = ..., model_digest: _Optional[str] = ..., score: _Optional[_Union[Score, str]] = ..., method: _Optional[_Union[_trainer_pb2.RepairMethod, _Mapping]] = ..., seed: _Optional[int] = ..., chosen_embeddings_digest: _Optional[str] = ..., rejected_embeddings_digest: _Optional[str] = ...) -> None: ...

class SelectStep(_message.Message):
    __slots__ = ("pool_digest", "strategy", "budget", "seed", "embeddings_digest", "scores_digest", "filter_scores_digests")
    POOL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCORES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FILTER_SCORES_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    pool_digest: str
    strategy: SelectionStrategy
    budget: _types_pb2.Budget
    seed: int
    embeddings_digest: str
    scores_digest: str
    filter_scores_digests: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pool_digest: _Optional[str] = ..., strategy: _Optional[_Union[SelectionStrategy, _Mapping]] = ..., budget: _Optional[_Union[_types_pb2.Budget, _Mapping]] = ..., seed: _Optional[int] = ..., embeddings_digest: _Optional[str] = ..., scores_digest: _Optional[str] = ..., filter_scores_digests: _Optional[_Iterable[str]] = ...) -> None: ...

class ImportDatasetRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: ImportDatasetStep
    def __init__(self, step: _Optional[_Union[ImportDatasetStep, _Mapping]] = ...) -> None: ...

class ImportDatasetResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class OverlapStep(_message.Message):
    __slots__ = ("pool_digest", "prompts_digest", "pool_embeddings_digest", "prompts_embeddings_digest", "min_similarity")
    POOL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POOL_EMBEDDINGS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_EMBEDDINGS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    pool_digest: str
    prompts_digest: str
    pool_embeddings_digest: str
    prompts_embeddings_digest: str
    min_similarity: float
    def __init__(self, pool_digest: _Optional[str] = ..., prompts_digest: _Optional[str] = ..., pool_embeddings_digest: _Optional[str] = ..., prompts_embeddings_digest: _Optional[str] = ..., min_similarity: _Optional[float] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: EmbedStep
    def __init__(self, step: _Optional[_Union[EmbedStep, _Mapping]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: ScoreStep
    def __init__(self, step: _Optional[_Union[ScoreStep, _Mapping]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class SelectRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: SelectStep
    def __init__(self, step: _Optional[_Union[SelectStep, _Mapping]] = ...) -> None: ...

class SelectResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class OverlapRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: OverlapStep
    def __init__(self, step: _Optional[_Union[OverlapStep, _Mapping]] = ...) -> None: ...

class OverlapResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class SelectionServiceCancelRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class SelectionServiceCancelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
