from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_ROLE_UNSPECIFIED: _ClassVar[ModelRole]
    MODEL_ROLE_CAUSAL_LM: _ClassVar[ModelRole]
    MODEL_ROLE_ENCODER: _ClassVar[ModelRole]
    MODEL_ROLE_JUDGE: _ClassVar[ModelRole]

class DatasetKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_KIND_UNSPECIFIED: _ClassVar[DatasetKind]
    DATASET_KIND_POOL: _ClassVar[DatasetKind]
    DATASET_KIND_PROMPTS: _ClassVar[DatasetKind]
    DATASET_KIND_TEXTS: _ClassVar[DatasetKind]
    DATASET_KIND_UNPAIRED_POOL: _ClassVar[DatasetKind]
    DATASET_KIND_LINES: _ClassVar[DatasetKind]
    DATASET_KIND_SENTENCE_PAIRS: _ClassVar[DatasetKind]
    DATASET_KIND_LABELLED_TEXTS: _ClassVar[DatasetKind]

class DatasetFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_FORMAT_UNSPECIFIED: _ClassVar[DatasetFormat]
    DATASET_FORMAT_JSONL: _ClassVar[DatasetFormat]
    DATASET_FORMAT_CSV: _ClassVar[DatasetFormat]
    DATASET_FORMAT_PARQUET: _ClassVar[DatasetFormat]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_DIFFERENCE: _ClassVar[ChangeKind]
    CHANGE_KIND_RATIO: _ClassVar[ChangeKind]

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_LOWER_IS_BETTER: _ClassVar[Direction]
    DIRECTION_HIGHER_IS_BETTER: _ClassVar[Direction]

class IntervalKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERVAL_KIND_UNSPECIFIED: _ClassVar[IntervalKind]
    INTERVAL_KIND_FIXED: _ClassVar[IntervalKind]
    INTERVAL_KIND_SEQUENCE: _ClassVar[IntervalKind]
MODEL_ROLE_UNSPECIFIED: ModelRole
MODEL_ROLE_CAUSAL_LM: ModelRole
MODEL_ROLE_ENCODER: ModelRole
MODEL_ROLE_JUDGE: ModelRole
DATASET_KIND_UNSPECIFIED: DatasetKind
DATASET_KIND_POOL: DatasetKind
DATASET_KIND_PROMPTS: DatasetKind
DATASET_KIND_TEXTS: DatasetKind
DATASET_KIND_UNPAIRED_POOL: DatasetKind
DATASET_KIND_LINES: DatasetKind
DATASET_KIND_SENTENCE_PAIRS: DatasetKind
DATASET_KIND_LABELLED_TEXTS: DatasetKind
DATASET_FORMAT_UNSPECIFIED: DatasetFormat
DATASET_FORMAT_JSONL: DatasetFormat
DATASET_FORMAT_CSV: DatasetFormat
DATASET_FORMAT_PARQUET: DatasetFormat
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_DIFFERENCE: ChangeKind
CHANGE_KIND_RATIO: ChangeKind
DIRECTION_UNSPECIFIED: Direction
DIRECTION_LOWER_IS_BETTER: Direction
DIRECTION_HIGHER_IS_BETTER: Direction
INTERVAL_KIND_UNSPECIFIED: IntervalKind
INTERVAL_KIND_FIXED: IntervalKind
INTERVAL_KIND_SEQUENCE: IntervalKind

class Artifact(_message.Message):
    __slots__ = ("digest", "size_bytes", "is_tree")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    IS_TREE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size_bytes: int
    is_tree: bool
    def __init__(self, digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., is_tree: _Optional[bool] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class FieldMap(_message.Message):
    __slots__ = ("id", "prompt", "chosen", "rejected", "text", "completion", "label", "group")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    id: str
    prompt: str
    chosen: str
    rejected: str
    text: str
    completion: str
    label: str
    group: str
    def __init__(self, id: _Optional[str] = ..., prompt: _Optional[str] = ..., chosen: _Optional[str] = ..., rejected: _Optional[str] = ..., text: _Optional[str] = ..., completion: _Optional[str] = ..., label: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class HashSlice(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: float
    end: float
    def __init__(self, start: _Optional[float] = ..., end: _Optional[float] = ...) -> None: ...

class DatasetRef(_message.Message):
    __slots__ = ("reference", "format", "fields", "slice", "max_rows", "max_bad_row_share", "subset", "split")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_BAD_ROW_SHARE_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    reference: str
    format: DatasetFormat
    fields: FieldMap
    slice: HashSlice
    max_rows: int
    max_bad_row_share: float
    subset: str
    split: str
    def __init__(self, reference: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., fields: _Optional[_Union[FieldMap, _Mapping]] = ..., slice: _Optional[_Union[HashSlice, _Mapping]] = ..., max_rows: _Optional[int] = ..., max_bad_row_share: _Optional[float] = ..., subset: _Optional[str] = ..., split: _Optional[str] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("fraction", "samples", "tokens")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    fraction: FractionBudget
    samples: SamplesBudget
    tokens: TokensBudget
    def __init__(self, fraction: _Optional[_Union[FractionBudget, _Mapping]] = ..., samples: _Optional[_Union[SamplesBudget, _Mapping]] = ..., tokens: _Optional[_Union[TokensBudget, _Mapping]] = ...) -> None: ...

class FractionBudget(_message.Message):
    __slots__ = ("fraction",)
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    def __init__(self, fraction: _Optional[float] = ...) -> None: ...

class SamplesBudget(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: int
    def __init__(self, samples: _Optional[int] = ...) -> None: ...

class TokensBudget(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    def __init__(self, tokens: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("wall_s", "cpu_s", "accelerator_s", "peak_memory_bytes", "tokens", "written_bytes")
    WALL_S_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_S_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    wall_s: float
    cpu_s: float
    accelerator_s: float
    peak_memory_bytes: int
    tokens: int
    written_bytes: int
    def __init__(self, wall_s: _Optional[float] = ..., cpu_s: _Optional[float] = ..., accelerator_s: _Optional[float] = ..., peak_memory_bytes: _Optional[int] = ..., tokens: _Optional[int] = ..., written_bytes: _Optional[int] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("value", "low", "high", "n")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: float
    high: float
    n: int
    def __init__(self, value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., n: _Optional[int] = ...) -> None: ...

class Quantity(_message.Message):
    __slots__ = ("estimate", "missing_reason")
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    MISSING_REASON_FIELD_NUMBER: _ClassVar[int]
    estimate: Estimate
    missing_reason: str
    def __init__(self, estimate: _Optional[_Union[Estimate, _Mapping]] = ..., missing_reason: _Optional[str] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("id", "protocol", "base", "repaired", "change", "change_kind", "direction", "judge", "gating", "slice", "interval")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_KIND_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    GATING_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    protocol: str
    base: Quantity
    repaired: Quantity
    change: Quantity
    change_kind: ChangeKind
    direction: Direction
    judge: str
    gating: bool
    slice: str
    interval: IntervalKind
    def __init__(self, id: _Optional[str] = ..., protocol: _Optional[str] = ..., base: _Optional[_Union[Quantity, _Mapping]] = ..., repaired: _Optional[_Union[Quantity, _Mapping]] = ..., change: _Optional[_Union[Quantity, _Mapping]] = ..., change_kind: _Optional[_Union[ChangeKind, str]] = ..., direction: _Optional[_Union[Direction, str]] = ..., judge: _Optional[str] = ..., gating: _Optional[bool] = ..., slice: _Optional[str] = ..., interval: _Optional[_Union[IntervalKind, str]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "message", "metadata", "step")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    step: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., step: _Optional[str] = ...) -> None: ...
