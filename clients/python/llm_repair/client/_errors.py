"""Every way a call can fail, as exceptions.

RepairClientError
├── InvalidRequest        the request or a local spec file is wrong; `violations` has every field
├── NotFound              no such repair, artifact or reference
├── Unauthenticated       no valid credential
├── PermissionDenied      the credential, or the server's allowed roots, forbid it
├── FailedPrecondition    not in this state, such as a report that is not ready
├── Aborted               a lost race; the call may be made again
├── ResourceExhausted     the server has no space or quota left
├── Unimplemented         the contract has it, this server does not carry it out
├── Unavailable           the server could not be reached, retries included
├── DeadlineExceeded      the server did not answer in time
├── DataLoss              bytes do not have the digest they were asked by
├── ServerError           a defect of the server
├── RepairFailed          the repair ended FAILED; reason and metadata are those stored on it
└── RepairCancelled       the repair ended CANCELLED
"""

# pyright: reportMissingTypeStubs=false
# google.rpc ships inline stubs without a py.typed mark.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from llm_repair.v1 import types_pb2

DOMAIN: Final = "llm-repair"
_DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """One thing wrong with one field of a request."""

    field: str
    """Path of the field, such as `budget.fraction.fraction`."""
    description: str
    """What is wrong and what would be right."""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class RepairClientError(Exception):
    """A call failed, or a repair did not end well."""

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        """Carries the sentence for people, and what programs act on.

        Args:
          message: One sentence; may change between versions.
          reason: A name of `ErrorReason` without its prefix; empty when the failure has none, as when a server is gone.
          metadata: What varies in the message, by the keys that `error_reason.proto` lists.
        """
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidRequest(RepairClientError):
    """The request is wrong; all violations are listed at once."""

    def __init__(
        self,
        violations: Iterable[FieldViolation],
        *,
        message: str = "",
        reason: str = "INVALID_FIELDS",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Carries every violation; the message names them all unless one is given."""
        self.violations = tuple(violations)
        text = message or "; ".join(str(violation) for violation in self.violations)
        super().__init__(text, reason=reason, metadata=metadata)


class NotFound(RepairClientError):
    """There is no such repair, artifact or reference."""


class Unauthenticated(RepairClientError):
    """The call carries no valid credential."""


class PermissionDenied(RepairClientError):
    """The credential or the server's allowed roots forbid this."""


class FailedPrecondition(RepairClientError):
    """The state of things does not allow this now."""


class Aborted(RepairClientError):
    """The call lost a race."""


class ResourceExhausted(RepairClientError):
    """The server has no space or quota left."""


class Unimplemented(RepairClientError):
    """The server does not carry this out."""


class Unavailable(RepairClientError):
    """The server could not be reached."""


class DeadlineExceeded(RepairClientError):
    """The server did not answer in time."""


class DataLoss(RepairClientError):
    """Bytes do not have the digest they were asked by."""


class ServerError(RepairClientError):
    """The server failed by a defect."""


class RepairFailed(RepairClientError):
    """The repair ended FAILED."""

    def __init__(self, name: str, failure: types_pb2.Failure) -> None:
        """Carries what the server stored on the repair."""
        at = f" in {failure.step}" if failure.step else ""
        super().__init__(f"the repair failed{at}: {failure.message}", reason=failure.reason, metadata=failure.metadata)
        self.name = name
        self.step = failure.step


class RepairCancelled(RepairClientError):
    """The repair ended CANCELLED."""

    def __init__(self, name: str) -> None:
        """Carries the repair's name."""
        super().__init__("the repair was cancelled", reason="STEP_CANCELLED")
        self.name = name


_BY_CODE: Final[Mapping[grpc.StatusCode, type[RepairClientError]]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.ALREADY_EXISTS: Aborted,
    grpc.StatusCode.CANCELLED: Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.DATA_LOSS: DataLoss,
}


def error_from_call(error: aio.AioRpcError) -> RepairClientError:
    """Returns the exception for a failed call; a code without a class of its own becomes `ServerError`."""
    info, violations = _details(error)
    message = error.details() or error.code().name
    if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        found = violations or [FieldViolation("", message)]
        return InvalidRequest(found, message=message, reason=info.reason, metadata=info.metadata)
    kind = _BY_CODE.get(error.code(), ServerError)
    return kind(message, reason=info.reason, metadata=info.metadata)


def is_from_transport(error: aio.AioRpcError) -> bool:
    """Whether no server of ours made this error: ours always carry an `ErrorInfo`."""
    return not _details(error)[0].reason


def _details(error: aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, list[FieldViolation]]:
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in _status(error).details:
        if _is(detail, bad_request):
            detail.Unpack(bad_request)
        elif _is(detail, info):
            candidate = error_details_pb2.ErrorInfo()
            detail.Unpack(candidate)
            if candidate.domain == DOMAIN:
                info = candidate
    return info, [FieldViolation(each.field, each.description) for each in bad_request.field_violations]


def _is(detail: Any, message: Message) -> bool:
    return detail.TypeName() == message.DESCRIPTOR.full_name


def _status(error: aio.AioRpcError) -> status_pb2.Status:
    # grpc_status.rpc_status.from_call would raise where a proxy rewrote the code or message; the details still hold.
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()
