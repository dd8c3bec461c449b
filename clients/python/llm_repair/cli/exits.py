"""What an exit code says to a shell or a CI job, and which one an error gets."""

from __future__ import annotations

import enum

from llm_repair.client import FailedPrecondition, InvalidRequest, NotFound, RepairClientError, Unimplemented
from llm_repair.v1 import coordinator_pb2 as pb


class Exit(enum.IntEnum):
    """Exit codes; a CI job may rely on them."""

    PASS = 0
    """Done; where a gate was asked, it passes."""
    FAIL = 1
    """The gate says FAIL."""
    INCONCLUSIVE = 2
    """The gate says INCONCLUSIVE."""
    INFRASTRUCTURE = 3
    """No verdict: a server is away, a repair failed, a report is not there."""
    USAGE = 4
    """The command or the request is wrong; doing it again changes nothing."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it; a repair goes on."""


class UsageError(Exception):
    """What was asked cannot be done; the message says what would be right."""


class EmbeddedError(Exception):
    """The embedded stack does not start or answer."""


# A report that is missing is no mistake in the command: it may come, or the repair has failed.
_NOT_THE_CALLER = frozenset({"REPORT_NOT_READY", "SOURCE_CHANGED", "JUDGE_UNAVAILABLE", "ENGINE_UNAVAILABLE"})
_REFUSED_REFERENCE = "REFERENCE_NOT_ALLOWED"


def exit_for_error(error: RepairClientError) -> Exit:
    """Returns USAGE for what the caller must change, INFRASTRUCTURE for everything else."""
    is_usage = isinstance(error, InvalidRequest | NotFound | Unimplemented | FailedPrecondition)
    if error.reason == _REFUSED_REFERENCE or (is_usage and error.reason not in _NOT_THE_CALLER):
        return Exit.USAGE
    return Exit.INFRASTRUCTURE


def exit_for_verdict(verdict: pb.Verdict) -> Exit:
    """Returns the exit code of a verdict; no verdict is an infrastructure error, never a pass."""
    codes = {
        pb.VERDICT_PASS: Exit.PASS,
        pb.VERDICT_FAIL: Exit.FAIL,
        pb.VERDICT_INCONCLUSIVE: Exit.INCONCLUSIVE,
    }
    return codes.get(verdict, Exit.INFRASTRUCTURE)
