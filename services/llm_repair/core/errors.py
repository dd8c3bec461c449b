"""The errors of the domain, each with a machine-readable reason.

Code anywhere in the services raises leaves of `RepairError`; `rpc.errors` turns them into gRPC statuses
with one `ErrorInfo`, and `error_reason.proto` lists every reason with a worked example. The docstring of a
leaf is its default public sentence. Messages never quote pool rows, prompts or generations.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class Code(enum.Enum):
    """Canonical status codes a domain error may ask for; names as in google.rpc.Code."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    ABORTED = "ABORTED"
    CANCELLED = "CANCELLED"
    UNAVAILABLE = "UNAVAILABLE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    DATA_LOSS = "DATA_LOSS"
    INTERNAL = "INTERNAL"


class RepairError(Exception):
    """Something went wrong in a repair."""

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str | None = None, **metadata: object) -> None:
        """Builds the error; whatever varies in `message` belongs in `metadata` too."""
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.metadata = {key: str(value) for key, value in metadata.items()}
        super().__init__(self.message)


@dataclass(frozen=True)
class FieldViolation:
    """One thing wrong with one field of a request."""

    field: str
    """Path of the field, such as `budget.fraction` or `evaluation.corpora[1].name`."""
    description: str
    """What is wrong and what would be right."""

    def under(self, prefix: str) -> FieldViolation:
        """Returns the same violation seen from the message that holds this one."""
        joint = "" if self.field.startswith("[") or not self.field else "."
        return FieldViolation(f"{prefix}{joint}{self.field}", self.description)


class InvalidFields(RepairError):
    """The request has invalid fields."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_FIELDS"

    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        """Carries all violations at once; the message names them all."""
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))


class UnknownStrategy(RepairError):
    """The selection strategy, repair method, judge or protocol is not known."""

    code, reason = Code.INVALID_ARGUMENT, "UNKNOWN_STRATEGY"


class NotCarriedOut(RepairError):
    """The contract has this, but this version does not carry it out yet."""

    code, reason = Code.UNIMPLEMENTED, "NOT_CARRIED_OUT"


class ReferenceInvalid(RepairError):
    """The reference is not of a known form, such as hf:org/name@revision, file:/path or pypi:dist==version/path."""

    code, reason = Code.INVALID_ARGUMENT, "REFERENCE_INVALID"


class ReferenceNotAllowed(RepairError):
    """The reference lies outside the allowed roots or schemes."""

    code, reason = Code.PERMISSION_DENIED, "REFERENCE_NOT_ALLOWED"


class ReferenceNotFound(RepairError):
    """Nothing was found at the reference."""

    code, reason = Code.NOT_FOUND, "REFERENCE_NOT_FOUND"


class SourceChanged(RepairError):
    """The content behind the reference changed after the job was created."""

    code, reason = Code.FAILED_PRECONDITION, "SOURCE_CHANGED"


class SourceUnavailable(RepairError):
    """The hub or package mirror could not be reached."""

    code, reason = Code.UNAVAILABLE, "SOURCE_UNAVAILABLE"


class UnsafeModel(RepairError):
    """The model folder holds something that is never loaded: pickles, remote code or unknown config keys."""

    code, reason = Code.INVALID_ARGUMENT, "UNSAFE_MODEL"


class ModelInvalid(RepairError):
    """The model folder is incomplete or of an architecture that cannot be used here."""

    code, reason = Code.INVALID_ARGUMENT, "MODEL_INVALID"


class DatasetInvalid(RepairError):
    """The data set has no usable rows or too many bad ones."""

    code, reason = Code.INVALID_ARGUMENT, "DATASET_INVALID"


class PoolTooSmall(RepairError):
    """The pool has too few rows for this budget or method."""

    code, reason = Code.FAILED_PRECONDITION, "POOL_TOO_SMALL"


class BudgetTooSmall(RepairError):
    """The budget does not buy a single sample."""

    code, reason = Code.FAILED_PRECONDITION, "BUDGET_TOO_SMALL"


class PromptTooLong(RepairError):
    """A prompt with its continuation does not fit the model's context."""

    code, reason = Code.INVALID_ARGUMENT, "PROMPT_TOO_LONG"


class FeaturesInvalid(RepairError):
    """An embedding or score is NaN, infinite or of the wrong shape."""

    code, reason = Code.INVALID_ARGUMENT, "FEATURES_INVALID"


class ArtifactNotFound(RepairError):
    """No artifact has this digest."""

    code, reason = Code.NOT_FOUND, "ARTIFACT_NOT_FOUND"


class ArtifactCorrupt(RepairError):
    """The stored bytes do not have the digest they are filed under."""

    code, reason = Code.DATA_LOSS, "ARTIFACT_CORRUPT"


class StorageFull(RepairError):
    """The artifact store has no space left; nothing half-written was kept."""

    code, reason = Code.RESOURCE_EXHAUSTED, "STORAGE_FULL"


class StorageUnavailable(RepairError):
    """The artifact store could not be reached."""

    code, reason = Code.UNAVAILABLE, "STORAGE_UNAVAILABLE"


class CheckpointIncomplete(RepairError):
    """The training checkpoint is torn or does not verify."""

    code, reason = Code.DATA_LOSS, "CHECKPOINT_INCOMPLETE"


class CheckpointForeign(RepairError):
    """The training checkpoint was made for another base model or configuration."""

    code, reason = Code.FAILED_PRECONDITION, "CHECKPOINT_FOREIGN"


class LossNotFinite(RepairError):
    """The training loss became NaN or infinite; nothing was published."""

    code, reason = Code.FAILED_PRECONDITION, "LOSS_NOT_FINITE"


class GradientExploded(RepairError):
    """The gradient was far beyond its clipping norm for too many steps in a row; nothing was published."""

    code, reason = Code.FAILED_PRECONDITION, "GRADIENT_EXPLODED"


class OutOfMemory(RepairError):
    """Memory ran out, with micro-batches halved too; nothing was published."""

    code, reason = Code.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"


class AdapterNotApplied(RepairError):
    """The repaired weights equal the base weights."""

    code, reason = Code.FAILED_PRECONDITION, "ADAPTER_NOT_APPLIED"


class JudgeUnavailable(RepairError):
    """The judge could not be loaded or does not have its pinned digest."""

    code, reason = Code.FAILED_PRECONDITION, "JUDGE_UNAVAILABLE"


class EngineUnavailable(RepairError):
    """The generation engine is not installed or cannot run on this machine."""

    code, reason = Code.FAILED_PRECONDITION, "ENGINE_UNAVAILABLE"


class EngineParityFailed(RepairError):
    """The engine's log-likelihoods differ from the reference engine's by more than the tolerance."""

    code, reason = Code.FAILED_PRECONDITION, "ENGINE_PARITY_FAILED"


class EvaluationMismatch(RepairError):
    """Two evaluations cannot be compared: prompts, seeds, judge, engine or protocol differ."""

    code, reason = Code.FAILED_PRECONDITION, "EVALUATION_MISMATCH"


class WorkerLost(RepairError):
    """The worker process ended without a result; the step may be tried again."""

    code, reason = Code.ABORTED, "WORKER_LOST"


class StepCancelled(RepairError):
    """The step was cancelled."""

    code, reason = Code.CANCELLED, "STEP_CANCELLED"


class ExecutionNotFound(RepairError):
    """No execution with this key is running here."""

    code, reason = Code.NOT_FOUND, "EXECUTION_NOT_FOUND"


class AttemptFenced(RepairError):
    """Another coordinator holds the lease on this job."""

    code, reason = Code.ABORTED, "ATTEMPT_FENCED"


class RepairNotFound(RepairError):
    """No repair has this name."""

    code, reason = Code.NOT_FOUND, "REPAIR_NOT_FOUND"


class RequestIdReused(RepairError):
    """The request_id was used before with another request."""

    code, reason = Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED"


class IllegalTransition(RepairError):
    """The repair is not in a state that allows this."""

    code, reason = Code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"


class ReportNotReady(RepairError):
    """The repair has no report yet."""

    code, reason = Code.FAILED_PRECONDITION, "REPORT_NOT_READY"


class CredentialMissing(RepairError):
    """The call carries no valid credential."""

    code, reason = Code.UNAUTHENTICATED, "CREDENTIAL_MISSING"


class MethodNotAllowed(RepairError):
    """The credential does not allow this call."""

    code, reason = Code.PERMISSION_DENIED, "METHOD_NOT_ALLOWED"


def leaves() -> tuple[type[RepairError], ...]:
    """Returns every concrete error class, in order of definition."""
    return tuple(RepairError.__subclasses__())


def by_reason(reason: str) -> type[RepairError]:
    """Returns the class that carries `reason`; `RepairError` itself for an unknown one."""
    return next((leaf for leaf in leaves() if leaf.reason == reason), RepairError)
