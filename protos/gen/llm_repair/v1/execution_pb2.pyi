import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llm_repair.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecutionEvent(_message.Message):
    __slots__ = ("key", "started", "progress", "note", "heartbeat", "committed")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    key: str
    started: ExecutionStarted
    progress: ExecutionProgress
    note: ExecutionNote
    heartbeat: ExecutionHeartbeat
    committed: StepResult
    def __init__(self, key: _Optional[str] = ..., started: _Optional[_Union[ExecutionStarted, _Mapping]] = ..., progress: _Optional[_Union[ExecutionProgress, _Mapping]] = ..., note: _Optional[_Union[ExecutionNote, _Mapping]] = ..., heartbeat: _Optional[_Union[ExecutionHeartbeat, _Mapping]] = ..., committed: _Optional[_Union[StepResult, _Mapping]] = ...) -> None: ...

class ExecutionStarted(_message.Message):
    __slots__ = ("attempt", "attached", "start_time")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    attempt: str
    attached: bool
    start_time: _timestamp_pb2.Timestamp
    def __init__(self, attempt: _Optional[str] = ..., attached: _Optional[bool] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExecutionProgress(_message.Message):
    __slots__ = ("done", "total", "unit", "stage", "eta_s", "measures")
    class MeasuresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ETA_S_FIELD_NUMBER: _ClassVar[int]
    MEASURES_FIELD_NUMBER: _ClassVar[int]
    done: float
    total: float
    unit: str
    stage: str
    eta_s: float
    measures: _containers.ScalarMap[str, float]
    def __init__(self, done: _Optional[float] = ..., total: _Optional[float] = ..., unit: _Optional[str] = ..., stage: _Optional[str] = ..., eta_s: _Optional[float] = ..., measures: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ExecutionNote(_message.Message):
    __slots__ = ("phrase", "fields_json")
    PHRASE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_JSON_FIELD_NUMBER: _ClassVar[int]
    phrase: str
    fields_json: str
    def __init__(self, phrase: _Optional[str] = ..., fields_json: _Optional[str] = ...) -> None: ...

class ExecutionHeartbeat(_message.Message):
    __slots__ = ("usage",)
    USAGE_FIELD_NUMBER: _ClassVar[int]
    usage: _types_pb2.Usage
    def __init__(self, usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ...) -> None: ...

class StepResult(_message.Message):
    __slots__ = ("key", "kind", "outputs", "summary_json", "usage", "provenance_json")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _types_pb2.Artifact
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_JSON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_JSON_FIELD_NUMBER: _ClassVar[int]
    key: str
    kind: str
    outputs: _containers.MessageMap[str, _types_pb2.Artifact]
    summary_json: str
    usage: _types_pb2.Usage
    provenance_json: str
    def __init__(self, key: _Optional[str] = ..., kind: _Optional[str] = ..., outputs: _Optional[_Mapping[str, _types_pb2.Artifact]] = ..., summary_json: _Optional[str] = ..., usage: _Optional[_Union[_types_pb2.Usage, _Mapping]] = ..., provenance_json: _Optional[str] = ...) -> None: ...
