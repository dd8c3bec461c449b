"""Client of LLM Repair: start a repair, follow it, fetch the repaired model and its report, gate on it."""

from llm_repair.client._client import RepairClient
from llm_repair.client._datasets import dataset, parse_slice
from llm_repair.client._errors import (
    Aborted,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RepairCancelled,
    RepairClientError,
    RepairFailed,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from llm_repair.client._evaluation import default_evaluation, evaluation, judge, split_layout
from llm_repair.client._handle import TERMINAL_STATES, RepairHandle, Update
from llm_repair.client._method import MethodOptions, repair_method
from llm_repair.client._selection import Selection
from llm_repair.client._spec import evaluation_spec, repair_spec, selection_spec
from llm_repair.client._spec_file import load_policy, load_spec, policy_schema
from llm_repair.client._strategy import StrategyOptions, selection_strategy
from llm_repair.client._sync import SyncRepairClient, SyncRepairHandle

__all__ = [
    "TERMINAL_STATES",
    "Aborted",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "InvalidRequest",
    "MethodOptions",
    "NotFound",
    "PermissionDenied",
    "RepairCancelled",
    "RepairClient",
    "RepairClientError",
    "RepairFailed",
    "RepairHandle",
    "ResourceExhausted",
    "Selection",
    "ServerError",
    "StrategyOptions",
    "SyncRepairClient",
    "SyncRepairHandle",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Update",
    "dataset",
    "default_evaluation",
    "evaluation",
    "evaluation_spec",
    "judge",
    "load_policy",
    "load_spec",
    "parse_slice",
    "policy_schema",
    "repair_method",
    "repair_spec",
    "selection_spec",
    "selection_strategy",
    "split_layout",
]
