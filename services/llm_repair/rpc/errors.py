"""Turns domain errors into gRPC statuses and back, with exactly one `ErrorInfo` each."""

# googleapis-common-protos and grpc_status publish no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from llm_repair.core.errors import Code, FieldViolation, InvalidFields, RepairError, by_reason

DOMAIN: Final = "llm-repair"
# A client drops a call whose trailers have over 8 KiB, error and all, so everything below fits into that together.
# The message goes twice: in the details, and percent-encoded, which makes three bytes of one that is not ASCII.
_MAX_MESSAGE_BYTES: Final = 1500
_MAX_SUMMARY_BYTES: Final = 500  # of a message that only repeats its violations
_MAX_VIOLATIONS_BYTES: Final = 4000
_MAX_DESCRIPTION_BYTES: Final = 200
_MAX_METADATA_BYTES: Final = 800


def status_of(error: RepairError) -> Any:
    """Returns the status that carries a domain error, ready for `abort_with_status`."""
    metadata = _cut_metadata(error.metadata)
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))]
    message = _cut(error.message, _MAX_MESSAGE_BYTES)
    if isinstance(error, InvalidFields):
        message = _cut(error.message, _MAX_SUMMARY_BYTES)
        details.append(_packed(error_details_pb2.BadRequest(field_violations=_cut_violations(error.violations))))
    code = code_pb2.Code.Value(error.code.value)
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=details))


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
    try:
        status = rpc_status.from_call(call)  # pyright: ignore[reportArgumentType]
    except ValueError:
        return None  # the connection gave the call another code than the service did
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


def _cut(text: str, limit: int) -> str:
    """Returns at most so many bytes of a text, whole characters only."""
    return text.encode()[:limit].decode(errors="ignore")


def _cut_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    left = _MAX_METADATA_BYTES
    for key, value in metadata.items():
        kept[key] = _cut(value, max(0, left - len(key)))
        left -= len(key) + len(kept[key].encode())
        if left <= 0:
            break
    return kept


def _cut_violations(violations: Iterable[FieldViolation]) -> list[error_details_pb2.BadRequest.FieldViolation]:
    kept: list[error_details_pb2.BadRequest.FieldViolation] = []
    left = _MAX_VIOLATIONS_BYTES
    for violation in violations:
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_DESCRIPTION_BYTES),
            description=_cut(violation.description, _MAX_DESCRIPTION_BYTES),
        )
        left -= entry.ByteSize() + 4
        if left < 0:
            break
        kept.append(entry)
    return kept


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
