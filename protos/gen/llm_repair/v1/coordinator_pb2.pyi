import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llm_repair.v1 import evaluation_pb2 as _evaluation_pb2
from llm_repair.v1 import execution_pb2 as _execution_pb2
from llm_repair.v1 import selection_pb2 as _selection_pb2
from llm_repair.v1 import trainer_pb2 as _trainer_pb2
from llm_repair.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RepairGoal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPAIR_GOAL_UNSPECIFIED: _ClassVar[RepairGoal]
    REPAIR_GOAL_REPAIR: _ClassVar[RepairGoal]
    REPAIR_GOAL_SELECTION: _ClassVar[RepairGoal]
    REPAIR_GOAL_EVALUATION: _ClassVar[RepairGoal]

class OnMissing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_MISSING_UNSPECIFIED: _ClassVar[OnMissing]
    ON_MISSING_FAIL: _ClassVar[OnMissing]
    ON_MISSING_INCONCLUSIVE: _ClassVar[OnMissing]

class CriterionSlice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CRITERION_SLICE_UNSPECIFIED: _ClassVar[CriterionSlice]
    CRITERION_SLICE_ALL: _ClassVar[CriterionSlice]
    CRITERION_SLICE_EACH_GROUP: _ClassVar[CriterionSlice]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_PASS: _ClassVar[Verdict]
    VERDICT_INCONCLUSIVE: _ClassVar[Verdict]
    VERDICT_FAIL: _ClassVar[Verdict]

class RepairState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPAIR_STATE_UNSPECIFIED: _ClassVar[RepairState]
    REPAIR_STATE_PENDING: _ClassVar[RepairState]
    REPAIR_STATE_RUNNING: _ClassVar[RepairState]
    REPAIR_STATE_PAUSING: _ClassVar[RepairState]
    REPAIR_STATE_PAUSED: _ClassVar[RepairState]
    REPAIR_STATE_CANCELLING: _ClassVar[RepairState]
    REPAIR_STATE_CANCELLED: _ClassVar[RepairState]
    REPAIR_STATE_SUCCEEDED: _ClassVar[RepairState]
    REPAIR_STATE_FAILED: _ClassVar[RepairState]

class StepState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_STATE_UNSPECIFIED: _ClassVar[StepState]
    STEP_STATE_WAITING: _ClassVar[StepState]
    STEP_STATE_RUNNING: _ClassVar[StepState]
    STEP_STATE_COMMITTED: _ClassVar[StepState]
    STEP_STATE_FAILED: _ClassVar[StepState]
    STEP_STATE_CANCELLED: _ClassVar[StepState]
REPAIR_GOAL_UNSPECIFIED: RepairGoal
REPAIR_GOAL_REPAIR: RepairGoal
REPAIR_GOAL_SELECTION: RepairGoal
REPAIR_GOAL_EVALUATION: RepairGoal
ON_MISSING_UNSPECIFIED: OnMissing
ON_MISSING_FAIL: OnMissing
ON_MISSING_INCONCLUSIVE: OnMissing
CRITERION_SLICE_UNSPECIFIED: CriterionSlice
CRITERION_SLICE_ALL: CriterionSlice
CRITERION_SLICE_EACH_GROUP: CriterionSlice
VERDICT_UNSPECIFIED: Verdict
VERDICT_PASS: Verdict
VERDICT_INCONCLUSIVE: Verdict
VERDICT_FAIL: Verdict
REPAIR_STATE_UNSPECIFIED: RepairState
REPAIR_STATE_PENDING: RepairState
REPAIR_STATE_RUNNING: RepairState
REPAIR_STATE_PAUSING: RepairState
REPAIR_STATE_PAUSED: RepairState
REPAIR_STATE_CANCELLING: RepairState
REPAIR_STATE_CANCELLED: RepairState
REPAIR_STATE_SUCCEEDED: RepairState
REPAIR_STATE_FAILED: RepairState
STEP_STATE_UNSPECIFIED: StepState
STEP_STATE_WAITING: StepState
STEP_STATE_RUNNING: StepState
STEP_STATE_COMMITTED: StepState
STEP_STATE_FAILED: StepState
STEP_STATE_CANCELLED: StepState

class PoolRows(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _types_pb2.DatasetRef
    def __init__(self, rows: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ...) -> None: ...

class SelfGeneratedPool(_message.Message):
    __slots__ = ("prompts", "draws", "max_new_tokens", "top_p", "temperature", "min_gap", "min_chosen_tokens")
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MIN_GAP_FIELD_NUMBER: _ClassVar[int]
    MIN_CHOSEN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompts: _types_pb2.DatasetRef
    draws: int
    max_new_tokens: int
    top_p: float
    temperature: float
    min_gap: float
    min_chosen_tokens: int
    def __init__(self, prompts: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ..., draws: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., top_p: _Optional[float] = ..., temperature: _Optional[float] = ..., min_gap: _Optional[float] = ..., min_chosen_tokens: _Optional[int] = ...) -> None: ...

class RepairSpec(_message.Message):
    __slots__ = ("model", "pool_rows", "self_generated_pool", "budget", "strategy", "auto", "method", "evaluation", "gate", "encoder", "random_control", "seed", "goal", "proxy", "utility", "baseline", "full_control")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POOL_ROWS_FIELD_NUMBER: _ClassVar[int]
    SELF_GENERATED_POOL_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    AUTO_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    RANDOM_CONTROL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    UTILITY_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    FULL_CONTROL_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelRef
    pool_rows: PoolRows
    self_generated_pool: SelfGeneratedPool
    budget: _types_pb2.Budget
    strategy: _selection_pb2.SelectionStrategy
    auto: _selection_pb2.AutoSearch
    method: _trainer_pb2.RepairMethod
    evaluation: _evaluation_pb2.Evaluation
    gate: GatePolicy
    encoder: _types_pb2.ModelRef
    random_control: bool
    seed: int
    goal: RepairGoal
    proxy: _types_pb2.ModelRef
    utility: _types_pb2.DatasetRef
    baseline: _types_pb2.ModelRef
    full_control: bool
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ..., pool_rows: _Optional[_Union[PoolRows, _Mapping]] = ..., self_generated_pool: _Optional[_Union[SelfGeneratedPool, _Mapping]] = ..., budget: _Optional[_Union[_types_pb2.Budget, _Mapping]] = ..., strategy: _Optional[_Union[_selection_pb2.SelectionStrategy, _Mapping]] = ..., auto: _Optional[_Union[_selection_pb2.AutoSearch, _Mapping]] = ..., method: _Optional[_Union[_trainer_pb2.RepairMethod, _Mapping]] = ..., evaluation: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ..., gate: _Optional[_Union[GatePolicy, _Mapping]] = ..., encoder: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ..., random_control: _Optional[bool] = ..., seed: _Optional[int] = ..., goal: _Optional[_Union[RepairGoal, str]] = ..., proxy: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ..., utility: _Optional[_Union[_types_pb2.DatasetRef, _Mapping]] = ..., baseline: _Optional[_Union[_types_pb2.ModelRef, _Mapping]] = ..., full_control: _Optional[bool] = ...) -> None: ...

class AbsoluteRule(_message.Message):
    __slots__ = ("bound",)
    BOUND_FIELD_NUMBER: _ClassVar[int]
    bound: float
    def __init__(self, bound: _Optional[float] = ...) -> None: ...

class ChangeRule(_message.Message):
    __slots__ = ("bound",)
    BOUND_FIELD_NUMBER: _ClassVar[int]
    bound: float
    def __init__(self, bound: _Optional[float] = ...) -> None: ...

class NonInferiorityRule(_message.Message):
    __slots__ = ("margin",)
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    margin: float
    def __init__(self, margin: _Optional[float] = ...) -> None: ...

class Criterion(_message.Message):
    __slots__ = ("metric", "absolute", "change", "non_inferiority", "on_missing", "slice")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    NON_INFERIORITY_FIELD_NUMBER: _ClassVar[int]
    ON_MISSING_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    absolute: AbsoluteRule
    change: ChangeRule
    non_inferiority: NonInferiorityRule
    on_missing: OnMissing
    slice: CriterionSlice
    def __init__(self, metric: _Optional[str] = ..., absolute: _Optional[_Union[AbsoluteRule, _Mapping]] = ..., change: _Optional[_Union[ChangeRule, _Mapping]] = ..., non_inferiority: _Optional[_Union[NonInferiorityRule, _Mapping]] = ..., on_missing: _Optional[_Union[OnMissing, str]] = ..., slice: _Optional[_Union[CriterionSlice, str]] = ...) -> None: ...

class SequentialGate(_message.Message):
    __slots__ = ("first_look_prompts", "look_every_prompts")
    FIRST_LOOK_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    LOOK_EVERY_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    first_look_prompts: int
    look_every_prompts: int
    def __init__(self, first_look_prompts: _Optional[int] = ..., look_every_prompts: _Optional[int] = ...) -> None: ...

class GatePolicy(_message.Message):
    __slots__ = ("criteria", "confidence", "sequential")
    CRITERIA_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENTIAL_FIELD_NUMBER: _ClassVar[int]
    criteria: _containers.RepeatedCompositeFieldContainer[Criterion]
    confidence: float
    sequential: SequentialGate
    def __init__(self, criteria: _Optional[_Iterable[_Union[Criterion, _Mapping]]] = ..., confidence: _Optional[float] = ..., sequential: _Optional[_Union[SequentialGate, _Mapping]] = ...) -> None: ...

class CriterionVerdict(_message.Message):
    __slots__ = ("criterion", "verdict", "reason")
    CRITERION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    criterion: Criterion
    verdict: Verdict
    reason: str
    def __init__(self, criterion: _Optional[_Union[Criterion, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class GateResult(_message.Message):
    __slots__ = ("verdict", "criteria")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CRITERIA_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    criteria: _containers.RepeatedCompositeFieldContainer[CriterionVerdict]
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., criteria: _Optional[_Iterable[_Union[CriterionVerdict, _Mapping]]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("name", "kind", "key", "state", "attempts", "reused", "usage", "progress", "outputs", "summary_json", "start_time", "end_time")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _types_pb2.Artifact
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_JSON_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    key: str
    state: StepState
    attempts: int
    reused: bool
    usage: _types_pb2.Usage
    progress: _execution_pb2.ExecutionProgress
    outputs: _containers.MessageMap[str, _types_pb2.Artifact]
    summary_json: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., key: _Optional[str] = ..., state: _Optional[_Union[StepState, str]] = ..., attempts: _Optional[int] = ..., reused: _Optional[bool] = ..., usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ..., progress: _Optional[_Union[_execution_pb2.ExecutionProgress, _Mapping]] = ..., outputs: _Optional[_Mapping[str, _types_pb2.Artifact]] = ..., summary_json: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Repair(_message.Message):
    __slots__ = ("name", "spec", "state", "verdict", "steps", "error", "model", "weights_digest", "report", "usage", "partial_model", "create_time", "start_time", "end_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: RepairSpec
    state: RepairState
    verdict: Verdict
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    error: _types_pb2.Failure
    model: _types_pb2.Artifact
    weights_digest: str
    report: _types_pb2.Artifact
    usage: _types_pb2.Usage
    partial_model: _types_pb2.Artifact
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[RepairSpec, _Mapping]] = ..., state: _Optional[_Union[RepairState, str]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., error: _Optional[_Union[_types_pb2.Failure, _Mapping]] = ..., model: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ..., weights_digest: _Optional[str] = ..., report: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ..., usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ..., partial_model: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateRepairRequest(_message.Message):
    __slots__ = ("parent", "spec", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    spec: RepairSpec
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., spec: _Optional[_Union[RepairSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RepairPlan(_message.Message):
    __slots__ = ("prompts", "samples", "tokens", "known_s", "unknown_steps", "minimum_detectable_effect", "assumed_deviation", "metrics")
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_S_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_STEPS_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_DETECTABLE_EFFECT_FIELD_NUMBER: _ClassVar[int]
    ASSUMED_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    prompts: int
    samples: int
    tokens: int
    known_s: float
    unknown_steps: _containers.RepeatedScalarFieldContainer[str]
    minimum_detectable_effect: float
    assumed_deviation: float
    metrics: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prompts: _Optional[int] = ..., samples: _Optional[int] = ..., tokens: _Optional[int] = ..., known_s: _Optional[float] = ..., unknown_steps: _Optional[_Iterable[str]] = ..., minimum_detectable_effect: _Optional[float] = ..., assumed_deviation: _Optional[float] = ..., metrics: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateRepairResponse(_message.Message):
    __slots__ = ("repair", "plan")
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    repair: Repair
    plan: RepairPlan
    def __init__(self, repair: _Optional[_Union[Repair, _Mapping]] = ..., plan: _Optional[_Union[RepairPlan, _Mapping]] = ...) -> None: ...

class GetRepairRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetRepairResponse(_message.Message):
    __slots__ = ("repair",)
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    repair: Repair
    def __init__(self, repair: _Optional[_Union[Repair, _Mapping]] = ...) -> None: ...

class ListRepairsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "states")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[RepairState]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[RepairState, str]]] = ...) -> None: ...

class ListRepairsResponse(_message.Message):
    __slots__ = ("repairs", "next_page_token")
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    repairs: _containers.RepeatedCompositeFieldContainer[Repair]
    next_page_token: str
    def __init__(self, repairs: _Optional[_Iterable[_Union[Repair, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelRepairRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelRepairResponse(_message.Message):
    __slots__ = ("repair",)
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    repair: Repair
    def __init__(self, repair: _Optional[_Union[Repair, _Mapping]] = ...) -> None: ...

class PauseRepairRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PauseRepairResponse(_message.Message):
    __slots__ = ("repair",)
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    repair: Repair
    def __init__(self, repair: _Optional[_Union[Repair, _Mapping]] = ...) -> None: ...

class ResumeRepairRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeRepairResponse(_message.Message):
    __slots__ = ("repair",)
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    repair: Repair
    def __init__(self, repair: _Optional[_Union[Repair, _Mapping]] = ...) -> None: ...

class DeleteRepairRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteRepairResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRepairRequest(_message.Message):
    __slots__ = ("name", "after_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_sequence: int
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchRepairResponse(_message.Message):
    __slots__ = ("event", "progress", "heartbeat")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    event: RepairEvent
    progress: StepProgress
    heartbeat: WatchHeartbeat
    def __init__(self, event: _Optional[_Union[RepairEvent, _Mapping]] = ..., progress: _Optional[_Union[StepProgress, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ...) -> None: ...

class WatchHeartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StepProgress(_message.Message):
    __slots__ = ("step", "progress")
    STEP_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    step: str
    progress: _execution_pb2.ExecutionProgress
    def __init__(self, step: _Optional[str] = ..., progress: _Optional[_Union[_execution_pb2.ExecutionProgress, _Mapping]] = ...) -> None: ...

class RepairEvent(_message.Message):
    __slots__ = ("sequence", "time", "state_changed", "step_changed", "step_noted")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGED_FIELD_NUMBER: _ClassVar[int]
    STEP_CHANGED_FIELD_NUMBER: _ClassVar[int]
    STEP_NOTED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    state_changed: StateChanged
    step_changed: StepChanged
    step_noted: StepNoted
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_changed: _Optional[_Union[StateChanged, _Mapping]] = ..., step_changed: _Optional[_Union[StepChanged, _Mapping]] = ..., step_noted: _Optional[_Union[StepNoted, _Mapping]] = ...) -> None: ...

class StateChanged(_message.Message):
    __slots__ = ("state", "verdict", "error")
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    state: RepairState
    verdict: Verdict
    error: _types_pb2.Failure
    def __init__(self, state: _Optional[_Union[RepairState, str]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., error: _Optional[_Union[_types_pb2.Failure, _Mapping]] = ...) -> None: ...

class StepChanged(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: Step
    def __init__(self, step: _Optional[_Union[Step, _Mapping]] = ...) -> None: ...

class StepNoted(_message.Message):
    __slots__ = ("step", "note")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    step: str
    note: _execution_pb2.ExecutionNote
    def __init__(self, step: _Optional[str] = ..., note: _Optional[_Union[_execution_pb2.ExecutionNote, _Mapping]] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("report", "gate", "metrics")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    report: _types_pb2.Artifact
    gate: GateResult
    metrics: _containers.RepeatedCompositeFieldContainer[_types_pb2.Metric]
    def __init__(self, report: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ..., gate: _Optional[_Union[GateResult, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[_types_pb2.Metric, _Mapping]]] = ...) -> None: ...

class EvaluateGateRequest(_message.Message):
    __slots__ = ("name", "policy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    policy: GatePolicy
    def __init__(self, name: _Optional[str] = ..., policy: _Optional[_Union[GatePolicy, _Mapping]] = ...) -> None: ...

class EvaluateGateResponse(_message.Message):
    __slots__ = ("gate",)
    GATE_FIELD_NUMBER: _ClassVar[int]
    gate: GateResult
    def __init__(self, gate: _Optional[_Union[GateResult, _Mapping]] = ...) -> None: ...
