from llm_repair.v1 import execution_pb2 as _execution_pb2
from llm_repair.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RepairPreset(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPAIR_PRESET_UNSPECIFIED: _ClassVar[RepairPreset]
    REPAIR_PRESET_DEFAULT: _ClassVar[RepairPreset]
    REPAIR_PRESET_PAPER: _ClassVar[RepairPreset]

class Sharding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARDING_UNSPECIFIED: _ClassVar[Sharding]
    SHARDING_DDP: _ClassVar[Sharding]
    SHARDING_FSDP: _ClassVar[Sharding]

class Optimizer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPTIMIZER_UNSPECIFIED: _ClassVar[Optimizer]
    OPTIMIZER_ADAMW: _ClassVar[Optimizer]
    OPTIMIZER_RMSPROP: _ClassVar[Optimizer]

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FLOAT32: _ClassVar[Precision]
    PRECISION_BFLOAT16: _ClassVar[Precision]
REPAIR_PRESET_UNSPECIFIED: RepairPreset
REPAIR_PRESET_DEFAULT: RepairPreset
REPAIR_PRESET_PAPER: RepairPreset
SHARDING_UNSPECIFIED: Sharding
SHARDING_DDP: Sharding
SHARDING_FSDP: Sharding
OPTIMIZER_UNSPECIFIED: Optimizer
OPTIMIZER_ADAMW: Optimizer
OPTIMIZER_RMSPROP: Optimizer
PRECISION_UNSPECIFIED: Precision
PRECISION_FLOAT32: Precision
PRECISION_BFLOAT16: Precision

class DaptMethod(_message.Message):
    __slots__ = ("reweighting_temperature",)
    REWEIGHTING_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    reweighting_temperature: float
    def __init__(self, reweighting_temperature: _Optional[float] = ...) -> None: ...

class DaptKlMethod(_message.Message):
    __slots__ = ("nll_weight", "kl_weight")
    NLL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    KL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    nll_weight: float
    kl_weight: float
    def __init__(self, nll_weight: _Optional[float] = ..., kl_weight: _Optional[float] = ...) -> None: ...

class DpoMethod(_message.Message):
    __slots__ = ("beta", "label_smoothing")
    BETA_FIELD_NUMBER: _ClassVar[int]
    LABEL_SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    beta: float
    label_smoothing: float
    def __init__(self, beta: _Optional[float] = ..., label_smoothing: _Optional[float] = ...) -> None: ...

class IrepairMethod(_message.Message):
    __slots__ = ("nll_weight",)
    NLL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    nll_weight: float
    def __init__(self, nll_weight: _Optional[float] = ...) -> None: ...

class IrepairKlMethod(_message.Message):
    __slots__ = ("nll_weight", "kl_weight")
    NLL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    KL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    nll_weight: float
    kl_weight: float
    def __init__(self, nll_weight: _Optional[float] = ..., kl_weight: _Optional[float] = ...) -> None: ...

class ExmateMethod(_message.Message):
    __slots__ = ("penalty_weight", "dpo_weight", "beta")
    PENALTY_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    DPO_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    penalty_weight: float
    dpo_weight: float
    beta: float
    def __init__(self, penalty_weight: _Optional[float] = ..., dpo_weight: _Optional[float] = ..., beta: _Optional[float] = ...) -> None: ...

class KtoMethod(_message.Message):
    __slots__ = ("beta", "desirable_weight", "undesirable_weight")
    BETA_FIELD_NUMBER: _ClassVar[int]
    DESIRABLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    UNDESIRABLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    beta: float
    desirable_weight: float
    undesirable_weight: float
    def __init__(self, beta: _Optional[float] = ..., desirable_weight: _Optional[float] = ..., undesirable_weight: _Optional[float] = ...) -> None: ...

class FullParameters(_message.Message):
    __slots__ = ("top_layers", "layers", "top_share")
    TOP_LAYERS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    TOP_SHARE_FIELD_NUMBER: _ClassVar[int]
    top_layers: int
    layers: _containers.RepeatedScalarFieldContainer[int]
    top_share: float
    def __init__(self, top_layers: _Optional[int] = ..., layers: _Optional[_Iterable[int]] = ..., top_share: _Optional[float] = ...) -> None: ...

class Parallelism(_message.Message):
    __slots__ = ("ranks", "sharding")
    RANKS_FIELD_NUMBER: _ClassVar[int]
    SHARDING_FIELD_NUMBER: _ClassVar[int]
    ranks: int
    sharding: Sharding
    def __init__(self, ranks: _Optional[int] = ..., sharding: _Optional[_Union[Sharding, str]] = ...) -> None: ...

class LoraParameters(_message.Message):
    __slots__ = ("rank", "alpha", "dropout")
    RANK_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    rank: int
    alpha: float
    dropout: float
    def __init__(self, rank: _Optional[int] = ..., alpha: _Optional[float] = ..., dropout: _Optional[float] = ...) -> None: ...

class RepairMethod(_message.Message):
    __slots__ = ("dapt", "dapt_kl", "dpo", "irepair", "irepair_kl", "exmate", "kto", "full", "lora", "optimizer", "learning_rate", "weight_decay", "epochs", "batch_samples", "warmup_share", "final_rate_share", "clip_norm", "precision", "max_tokens", "prompt_in_loss", "validation_share", "validations", "patience", "checkpoint_every_steps", "preset", "warmup_steps", "validate_every_samples", "gradient_checkpointing", "explosion_ratio", "explosion_steps", "utility_texts", "utility_tokens", "parallelism")
    DAPT_FIELD_NUMBER: _ClassVar[int]
    DAPT_KL_FIELD_NUMBER: _ClassVar[int]
    DPO_FIELD_NUMBER: _ClassVar[int]
    IREPAIR_FIELD_NUMBER: _ClassVar[int]
    IREPAIR_KL_FIELD_NUMBER: _ClassVar[int]
    EXMATE_FIELD_NUMBER: _ClassVar[int]
    KTO_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    WARMUP_SHARE_FIELD_NUMBER: _ClassVar[int]
    FINAL_RATE_SHARE_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_IN_LOSS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_SHARE_FIELD_NUMBER: _ClassVar[int]
    VALIDATIONS_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    WARMUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_EVERY_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    EXPLOSION_RATIO_FIELD_NUMBER: _ClassVar[int]
    EXPLOSION_STEPS_FIELD_NUMBER: _ClassVar[int]
    UTILITY_TEXTS_FIELD_NUMBER: _ClassVar[int]
    UTILITY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PARALLELISM_FIELD_NUMBER: _ClassVar[int]
    dapt: DaptMethod
    dapt_kl: DaptKlMethod
    dpo: DpoMethod
    irepair: IrepairMethod
    irepair_kl: IrepairKlMethod
    exmate: ExmateMethod
    kto: KtoMethod
    full: FullParameters
    lora: LoraParameters
    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_samples: int
    warmup_share: float
    final_rate_share: float
    clip_norm: float
    precision: Precision
    max_tokens: int
    prompt_in_loss: bool
    validation_share: float
    validations: int
    patience: int
    checkpoint_every_steps: int
    preset: RepairPreset
    warmup_steps: int
    validate_every_samples: int
    gradient_checkpointing: bool
    explosion_ratio: float
    explosion_steps: int
    utility_texts: int
    utility_tokens: int
    parallelism: Parallelism
    def __init__(self, dapt: _Optional[_Union[DaptMethod, _Mapping]] = ..., dapt_kl: _Optional[_Union[DaptKlMethod, _Mapping]] = ..., dpo: _Optional[_Union[DpoMethod, _Mapping]] = ..., irepair: _Optional[_Union[IrepairMethod, _Mapping]] = ..., irepair_kl: _Optional[_Union[IrepairKlMethod, _Mapping]] = ..., exmate: _Optional[_Union[ExmateMethod, _Mapping]] = ..., kto: _Optional[_Union[KtoMethod, _Mapping]] = ..., full: _Optional[_Union[FullParameters, _Mapping]] = ..., lora: _Optional[_Union[LoraParameters, _Mapping]] = ..., optimizer: _Optional[_Union[Optimizer, str]] = ..., learning_rate: _Optional[float] = ..., weight_decay: _Optional[float] = ..., epochs: _Optional[int] = ..., batch_samples: _Optional[int] = ..., warmup_share: _Optional[float] = ..., final_rate_share: _Optional[float] = ..., clip_norm: _Optional[float] = ..., precision: _Optional[_Union[Precision, str]] = ..., max_tokens: _Optional[int] = ..., prompt_in_loss: _Optional[bool] = ..., validation_share: _Optional[float] = ..., validations: _Optional[int] = ..., patience: _Optional[int] = ..., checkpoint_every_steps: _Optional[int] = ..., preset: _Optional[_Union[RepairPreset, str]] = ..., warmup_steps: _Optional[int] = ..., validate_every_samples: _Optional[int] = ..., gradient_checkpointing: _Optional[bool] = ..., explosion_ratio: _Optional[float] = ..., explosion_steps: _Optional[int] = ..., utility_texts: _Optional[int] = ..., utility_tokens: _Optional[int] = ..., parallelism: _Optional[_Union[Parallelism, _Mapping]] = ...) -> None: ...

class ImportModelStep(_message.Message):
    __slots__ = ("source", "source_digest", "role")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    source: _types_pb2.ModelRef
    source_digest: str
    role: _types_pb2.ModelRole
    def __init__(self, source: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ..., source_digest: _Optional[str] = ..., role: _Optional[_Union[_types_pb2.ModelRole, str]] = ...) -> None: ...

class RepairStep(_message.Message):
    __slots__ = ("model_digest", "pool_digest", "selection_digest", "method", "seed", "utility_digest")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POOL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SELECTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    UTILITY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    pool_digest: str
    selection_digest: str
    method: RepairMethod
    seed: int
    utility_digest: str
    def __init__(self, model_digest: _Optional[str] = ..., pool_digest: _Optional[str] = ..., selection_digest: _Optional[str] = ..., method: _Optional[_Union[RepairMethod, _Mapping]] = ..., seed: _Optional[int] = ..., utility_digest: _Optional[str] = ...) -> None: ...

class PublishStep(_message.Message):
    __slots__ = ("model_digest", "report_digest", "source")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPORT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    report_digest: str
    source: str
    def __init__(self, model_digest: _Optional[str] = ..., report_digest: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class ImportModelRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: ImportModelStep
    def __init__(self, step: _Optional[_Union[ImportModelStep, _Mapping]] = ...) -> None: ...

class ImportModelResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class RepairRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: RepairStep
    def __init__(self, step: _Optional[_Union[RepairStep, _Mapping]] = ...) -> None: ...

class RepairResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: PublishStep
    def __init__(self, step: _Optional[_Union[PublishStep, _Mapping]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _execution_pb2.ExecutionEvent
    def __init__(self, event: _Optional[_Union[_execution_pb2.ExecutionEvent, _Mapping]] = ...) -> None: ...

class TrainerServiceCancelRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class TrainerServiceCancelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
