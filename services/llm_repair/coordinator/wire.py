"""The coordinator's messages as domain values, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from google.protobuf import json_format

from llm_repair.coordinator.forecast import Forecast
from llm_repair.coordinator.records import (
    PARTIAL,
    EventRecord,
    Heartbeat,
    RepairRecord,
    StepProgress,
    StepRecord,
    Update,
)
from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.execution import Artifact, Progress
from llm_repair.core.gate import CriterionVerdict, GateResult, Verdict
from llm_repair.core.metrics import Estimate, Metric, Missing
from llm_repair.core.policy import GatePolicy
from llm_repair.core.repairs import RepairSpec, RepairState
from llm_repair.rpc.codec import decode, encode
from llm_repair.rpc.execution_messages import timestamp
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import execution_pb2, types_pb2

DEFAULT_PROJECT: Final = "default"
_MAX_PAGE: Final = 100
_DEFAULT_PAGE: Final = 20


def repair_spec(request: pb.CreateRepairRequest) -> RepairSpec:
    """Returns the request's spec.

    Raises:
      InvalidFields: with all violations, named by their path under `spec`.
    """
    try:
        if not request.HasField("spec"):
            raise InvalidFields([FieldViolation("", "is required")])
        return decode(request.spec, RepairSpec)
    except InvalidFields as error:
        raise InvalidFields(violation.under("spec") for violation in error.violations) from error


def body_digest(request: pb.CreateRepairRequest) -> str:
    """Returns the digest by which a repeated `request_id` is recognised as the same request."""
    return hashlib.sha256(request.spec.SerializeToString(deterministic=True)).hexdigest()


def project_of(parent: str) -> str:
    """Returns the project in `projects/{project}`; the default project if empty."""
    if not parent:
        return DEFAULT_PROJECT
    prefix, _, project = parent.partition("/")
    if prefix != "projects" or not project or "/" in project:
        raise InvalidFields([FieldViolation("parent", "must be projects/{project}")])
    return project


def page_size(request: pb.ListRepairsRequest) -> int:
    """Returns the size of the page asked for, cut to the largest one."""
    if request.page_size < 0:
        raise InvalidFields([FieldViolation("page_size", "must not be negative")])
    return min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)


def states_of(request: pb.ListRepairsRequest) -> list[RepairState]:
    """Returns the states asked for."""
    known = {state.value for state in RepairState}
    violations = [
        FieldViolation(f"states[{index}]", f"has no value {number}")
        for index, number in enumerate(request.states)
        if number not in known
    ]
    if violations:
        raise InvalidFields(violations)
    return [RepairState(number) for number in request.states]


def spec_to_json(spec: RepairSpec) -> str:
    """Returns a spec as JSON of the contract, which old rows keep readable."""
    return json_format.MessageToJson(
        encode(spec, pb.RepairSpec), preserving_proto_field_name=True, indent=None, sort_keys=True
    )


def spec_from_json(text: str) -> RepairSpec:
    """Inverse of `spec_to_json`."""
    return decode(json_format.Parse(text, pb.RepairSpec()), RepairSpec)


def repair(record: RepairRecord, progress: Mapping[str, Progress] | None = None) -> pb.Repair:
    """Returns a repair with the latest progress of its running steps."""
    message = pb.Repair(
        name=record.name,
        spec=encode(record.spec, pb.RepairSpec),
        state=f"REPAIR_STATE_{record.state.name}",
        verdict=_verdict(record.verdict),
        steps=[step(entry, (progress or {}).get(entry.name)) for entry in record.steps],
        create_time=_time(record.created),
        start_time=_time(record.started),
        end_time=_time(record.ended),
    )
    if record.error:
        message.error.CopyFrom(_failure(record.error))
    results = record.results
    if published := results.get("publish"):
        message.model.CopyFrom(artifact(published.outputs["model"]))
        message.weights_digest = str(published.summary.get("weights_digest", ""))
    if report := results.get("report"):
        message.report.CopyFrom(artifact(report.outputs["report"]))
    if partial := _partial_model(record):
        message.partial_model.CopyFrom(artifact(partial))
    for entry in record.steps:
        if not entry.reused:
            _add_usage(message.usage, entry)
    return message


def repair_plan(value: Forecast) -> pb.RepairPlan:
    """Returns what a request would take."""
    return encode(value, pb.RepairPlan)


def step(record: StepRecord, progress: Progress | None = None) -> pb.Step:
    """Returns a step."""
    message = pb.Step(
        name=record.name,
        kind=record.kind,
        key=record.key,
        state=f"STEP_STATE_{record.state.name}",
        attempts=record.attempts,
        reused=record.reused,
        usage=encode(record.usage, types_pb2.Usage),
        outputs={role: artifact(value) for role, value in record.outputs.items()},
        summary_json=json.dumps(record.summary, sort_keys=True),
        start_time=_time(record.start_time),
        end_time=_time(record.end_time),
    )
    if progress:
        message.progress.CopyFrom(encode(progress, execution_pb2.ExecutionProgress))
    return message


def event(record: EventRecord) -> pb.RepairEvent:
    """Returns a durable event."""
    message = pb.RepairEvent(sequence=record.sequence, time=_time(record.time))
    payload = record.payload
    match record.kind:
        case "state_changed":
            state, verdict = f"REPAIR_STATE_{payload['state']}", _verdict(payload.get("verdict", ""))
            message.state_changed.CopyFrom(pb.StateChanged(state=state, verdict=verdict))
            if payload.get("error"):
                message.state_changed.error.CopyFrom(_failure(payload["error"]))
        case "step_changed":
            message.step_changed.step.CopyFrom(step(StepRecord.from_json(payload)))
        case _:
            message.step_noted.step = payload["step"]
            message.step_noted.note.phrase = payload["phrase"]
            message.step_noted.note.fields_json = json.dumps(payload["fields"], sort_keys=True)
    return message


def step_progress(update: StepProgress) -> pb.StepProgress:
    """Returns the progress of a step."""
    return pb.StepProgress(step=update.step, progress=encode(update.progress, execution_pb2.ExecutionProgress))


def watch_update(update: Update) -> pb.WatchRepairResponse:
    """Returns an update of a watched repair."""
    match update:
        case EventRecord():
            return pb.WatchRepairResponse(event=event(update))
        case StepProgress():
            return pb.WatchRepairResponse(progress=step_progress(update))
        case Heartbeat():
            return pb.WatchRepairResponse(heartbeat=pb.WatchHeartbeat())


def gate_policy(message: pb.GatePolicy) -> GatePolicy:
    """Returns a gate policy."""
    return decode(message, GatePolicy)


def gate(result: GateResult | None) -> pb.GateResult:
    """Returns the verdict of a policy; none is unspecified, which nobody may take for a pass."""
    if result is None:
        return pb.GateResult()
    return pb.GateResult(verdict=_verdict(result.verdict.name), criteria=[_criterion(c) for c in result.criteria])


def metrics(values: Sequence[Metric]) -> list[types_pb2.Metric]:
    """Returns metrics."""
    return [_metric(value) for value in values]


def artifact(value: Artifact) -> types_pb2.Artifact:
    """Returns an artifact."""
    return encode(value, types_pb2.Artifact)


def _partial_model(record: RepairRecord) -> Artifact | None:
    """Returns what a cancelled repair had reached: its whole repaired model, or what the training left."""
    trained = record.step("repair")
    if record.state is not RepairState.CANCELLED or trained is None:
        return None
    return trained.outputs.get("model") or trained.outputs.get(PARTIAL)


def _criterion(value: CriterionVerdict) -> pb.CriterionVerdict:
    return pb.CriterionVerdict(
        criterion=encode(value.criterion, pb.Criterion),
        verdict=_verdict(value.verdict.name),
        reason=value.reason,
    )


def _metric(value: Metric) -> types_pb2.Metric:
    return types_pb2.Metric(
        id=value.id,
        protocol=value.protocol,
        base=_quantity(value.base),
        repaired=_quantity(value.repaired),
        change=_quantity(value.change),
        change_kind=f"CHANGE_KIND_{value.change_kind.name}",
        direction=f"DIRECTION_{value.direction.name}",
        judge=value.judge,
        gating=value.gating,
        slice=value.slice,
        interval=f"INTERVAL_KIND_{value.interval.name}",
    )


def _quantity(value: Estimate | Missing) -> types_pb2.Quantity:
    if isinstance(value, Missing):
        return types_pb2.Quantity(missing_reason=value.reason)
    return types_pb2.Quantity(estimate=encode(value, types_pb2.Estimate))


def _verdict(name: str) -> str:
    return f"VERDICT_{Verdict[name].name}" if name else "VERDICT_UNSPECIFIED"


def _failure(error: Mapping[str, Any]) -> types_pb2.Failure:
    return types_pb2.Failure(
        reason=error["reason"], message=error["message"], metadata=error["metadata"], step=error.get("step", "")
    )


def _time(text: str) -> Any:
    return timestamp(datetime.fromisoformat(text)) if text else None


def _add_usage(total: types_pb2.Usage, record: StepRecord) -> None:
    usage = record.usage
    total.wall_s += usage.wall_s
    total.cpu_s += usage.cpu_s
    total.accelerator_s += usage.accelerator_s
    total.peak_memory_bytes = max(total.peak_memory_bytes, usage.peak_memory_bytes)
    total.tokens += usage.tokens
    total.written_bytes += usage.written_bytes
