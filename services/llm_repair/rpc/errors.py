"""Turns domain errors into gRPC statuses and back, with exactly one `ErrorInfo` each."""

# googleapis-common-protos and grpc_status publish no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from llm_repair.core.errors import Code, FieldViolation, InvalidFields, RepairError, by_reason

DOMAIN: Final = "llm-repair"
# Trailers are limited to about 8 KB; what is cut from a long list is only the tail of the details.
_MAX_MESSAGE_CHARS: Final = 1500
_MAX_VIOLATIONS: Final = 40


def status_of(error: RepairError) -> Any:
    """Returns the status that carries a domain error, ready for `abort_with_status`."""
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))]
    if isinstance(error, InvalidFields):
        bad = error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description[:200])
                for v in error.violations[:_MAX_VIOLATIONS]
            ]
        )
        details.append(_packed(bad))
    code = code_pb2.Code.Value(error.code.value)
    return rpc_status.to_status(
        status_pb2.Status(code=code, message=error.message[:_MAX_MESSAGE_CHARS], details=details)
    )


def internal_status(error_id: str) -> Any:
    """Returns the status of a defect: a fixed sentence and the id under which the log tells more."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    message = f"The service failed; its log has the details under {error_id}."
    return rpc_status.to_status(status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)]))


def new_error_id() -> str:
    """Returns a fresh id that ties a public error to a log line."""
    return uuid.uuid4().hex[:12]


def error_of(call: grpc.aio.AioRpcError) -> RepairError | None:
    """Returns the domain error that a failed call carries; None if it carries none, as when a server is gone."""
    status = rpc_status.from_call(call)  # pyright: ignore[reportArgumentType]
    if status is None:
        return None
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            return rebuild(info.reason, status.message, dict(info.metadata), _violations(status))
    return None


def rebuild(
    reason: str, message: str, metadata: Mapping[str, str], violations: list[FieldViolation] | None = None
) -> RepairError:
    """Builds the domain error with a reason; an unknown reason gives a plain `RepairError`."""
    kind = by_reason(reason)
    if kind is InvalidFields:
        return InvalidFields(violations or [FieldViolation("", message)])
    error = kind(message)
    error.metadata = dict(metadata)
    return error


def error_to_json(error: RepairError) -> dict[str, Any]:
    """Returns an error as plain JSON, for pipes and rows."""
    violations = [[v.field, v.description] for v in error.violations] if isinstance(error, InvalidFields) else []
    return {"reason": error.reason, "message": error.message, "metadata": error.metadata, "violations": violations}


def error_from_json(value: Mapping[str, Any]) -> RepairError:
    """Inverse of `error_to_json`."""
    violations = [FieldViolation(field, description) for field, description in value.get("violations", [])]
    return rebuild(value["reason"], value["message"], value["metadata"], violations)


def is_retriable(error: RepairError) -> bool:
    """Whether doing the same again may succeed: an interruption, not a verdict on the input."""
    return error.code in (Code.UNAVAILABLE, Code.ABORTED)


def _violations(status: Any) -> list[FieldViolation]:
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
    return [FieldViolation(v.field, v.description) for v in bad.field_violations]


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
