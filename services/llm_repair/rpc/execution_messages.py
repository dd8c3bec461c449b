"""The events of an execution as messages, and back."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from llm_repair.core.execution import Artifact, Progress, StepResult, Usage
from llm_repair.rpc.codec import decode, encode
from llm_repair.v1 import execution_pb2 as pb
from llm_repair.v1 import types_pb2


def timestamp(moment: datetime.datetime | None) -> Timestamp | None:
    """Returns a moment as a message; None stays None."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def started(key: str, attempt: str, start: datetime.datetime, *, attached: bool) -> pb.ExecutionEvent:
    """Returns the first event of a stream."""
    event = pb.ExecutionStarted(attempt=attempt, attached=attached, start_time=timestamp(start))
    return pb.ExecutionEvent(key=key, started=event)


def progress(key: str, value: Progress) -> pb.ExecutionEvent:
    """Returns a progress event."""
    return pb.ExecutionEvent(key=key, progress=encode(value, pb.ExecutionProgress))


def progress_of(message: pb.ExecutionProgress) -> Progress:
    """Inverse of `progress`."""
    return Progress(
        done=message.done,
        total=message.total,
        unit=message.unit,
        stage=message.stage,
        eta_s=message.eta_s if message.HasField("eta_s") else None,
        measures=dict(message.measures),
    )


def note(key: str, value: Mapping[str, Any]) -> pb.ExecutionEvent:
    """Returns a note event from `{"phrase": …, "fields": …}`."""
    event = pb.ExecutionNote(phrase=value["phrase"], fields_json=json.dumps(value["fields"], sort_keys=True))
    return pb.ExecutionEvent(key=key, note=event)


def heartbeat(key: str, usage: Usage) -> pb.ExecutionEvent:
    """Returns a sign of life."""
    event = pb.ExecutionHeartbeat(usage=encode(usage, types_pb2.Usage))
    return pb.ExecutionEvent(key=key, heartbeat=event)


def committed(result: StepResult) -> pb.ExecutionEvent:
    """Returns the last event of a stream."""
    message = pb.StepResult(
        key=result.key,
        kind=result.kind,
        outputs={role: encode(artifact, types_pb2.Artifact) for role, artifact in result.outputs.items()},
        summary_json=json.dumps(result.summary, sort_keys=True),
        usage=encode(result.usage, types_pb2.Usage),
        provenance_json=json.dumps(result.provenance, sort_keys=True),
    )
    return pb.ExecutionEvent(key=result.key, committed=message)


def result_of(message: pb.StepResult) -> StepResult:
    """Inverse of `committed`."""
    return StepResult(
        key=message.key,
        kind=message.kind,
        outputs={role: artifact_of(artifact) for role, artifact in message.outputs.items()},
        summary=json.loads(message.summary_json),
        usage=usage_of(message.usage),
        provenance=json.loads(message.provenance_json),
    )


def artifact_of(message: types_pb2.Artifact) -> Artifact:
    """Returns an artifact as a domain value."""
    return Artifact(message.digest, message.size_bytes, message.is_tree)


def usage_of(message: types_pb2.Usage) -> Usage:
    """Returns usage as a domain value."""
    return decode(message, Usage)
