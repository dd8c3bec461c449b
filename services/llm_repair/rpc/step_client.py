"""Calls the services that run steps: one method whatever the kind, with domain values in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from llm_repair.core.errors import Code, ExecutionNotFound, RepairError
from llm_repair.core.execution import Progress, StepResult, Usage
from llm_repair.core.steps import Step
from llm_repair.rpc import execution_messages as messages
from llm_repair.rpc.errors import error_of
from llm_repair.rpc.server import KEEPALIVE_OPTIONS
from llm_repair.rpc.step_messages import pack_step
from llm_repair.v1 import (
    evaluation_pb2,
    evaluation_pb2_grpc,
    execution_pb2,
    selection_pb2,
    selection_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)

_CANCEL_DEADLINE_S: Final = 10.0
# A stream shows a sign of life every few seconds; a service that is silent for so long hangs.
_SILENCE_S: Final = 60.0


class ServiceUnreachable(RepairError):
    """The service could not be reached, or the stream broke; this says nothing about the execution."""

    code, reason = Code.UNAVAILABLE, "SERVICE_UNREACHABLE"


@dataclass(frozen=True)
class Started:
    """An execution runs."""

    attempt: str


@dataclass(frozen=True)
class Noted:
    """A remark a person should see."""

    phrase: str
    fields_json: str


Event = Started | Progress | Noted | Usage | StepResult


@dataclass(frozen=True)
class _Call:
    service: str
    method: str
    request: Any


_CALLS: Final[dict[str, _Call]] = {
    "import_dataset": _Call("selection", "ImportDataset", selection_pb2.ImportDatasetRequest),
    "embed": _Call("selection", "Embed", selection_pb2.EmbedRequest),
    "score": _Call("selection", "Score", selection_pb2.ScoreRequest),
    "select": _Call("selection", "Select", selection_pb2.SelectRequest),
    "overlap": _Call("selection", "Overlap", selection_pb2.OverlapRequest),
    "import_model": _Call("trainer", "ImportModel", trainer_pb2.ImportModelRequest),
    "repair": _Call("trainer", "Repair", trainer_pb2.RepairRequest),
    "publish": _Call("trainer", "Publish", trainer_pb2.PublishRequest),
    "build_pool": _Call("evaluation", "BuildPool", evaluation_pb2.BuildPoolRequest),
    "sample_texts": _Call("evaluation", "SampleTexts", evaluation_pb2.SampleTextsRequest),
    "judge_pool": _Call("evaluation", "JudgePool", evaluation_pb2.JudgePoolRequest),
    "evaluate": _Call("evaluation", "Evaluate", evaluation_pb2.EvaluateRequest),
    "compare": _Call("evaluation", "Compare", evaluation_pb2.CompareRequest),
    "report": _Call("evaluation", "Report", evaluation_pb2.ReportRequest),
}
_STUBS: Final[dict[str, Any]] = {
    "selection": selection_pb2_grpc.SelectionServiceStub,
    "trainer": trainer_pb2_grpc.TrainerServiceStub,
    "evaluation": evaluation_pb2_grpc.EvaluationServiceStub,
}
_CANCEL_REQUESTS: Final[dict[str, Any]] = {
    "selection": selection_pb2.SelectionServiceCancelRequest,
    "trainer": trainer_pb2.TrainerServiceCancelRequest,
    "evaluation": evaluation_pb2.EvaluationServiceCancelRequest,
}


class StepClient:
    """Executes and cancels steps at the services that own them."""

    def __init__(self, addresses: Mapping[str, str], token: str) -> None:
        """Opens channels lazily.

        Args:
          addresses: `host:port` by service: selection, trainer, evaluation.
          token: Bearer token; empty for none.
        """
        self._channels = {
            service: grpc.aio.insecure_channel(address, options=[*KEEPALIVE_OPTIONS, *_RECONNECT])
            for service, address in addresses.items()
        }
        self._stubs = {service: _STUBS[service](channel) for service, channel in self._channels.items()}
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def execute(self, step: Step) -> AsyncGenerator[Event, None]:
        """Streams the execution of a step; the last event is its result.

        Raises:
          ServiceUnreachable: the stream broke or fell silent; call again to attach or start anew.
          RepairError: the step failed.
        """
        call = _CALLS[step.kind]
        request = call.request(step=pack_step(step))
        stream = getattr(self._stubs[call.service], call.method)(request, metadata=self._metadata)
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    response = await stream.read()
                if response is grpc.aio.EOF:
                    break
                event = _event_of(response.event)
                yield event
                if isinstance(event, StepResult):
                    return
        except grpc.aio.AioRpcError as error:
            raise _domain_error(error) from error
        except TimeoutError as error:
            raise ServiceUnreachable("the stream fell silent", seconds=_SILENCE_S) from error
        finally:
            stream.cancel()
        raise ServiceUnreachable("the stream ended before the step did")

    async def cancel(self, kind: str, key: str) -> bool:
        """Tells the execution of a key to stop, and returns whether there was one.

        A service that is just starting is waited for; one that stays away is given up, its workers died with it.
        """
        service = _CALLS[kind].service
        request = _CANCEL_REQUESTS[service](key=key)
        try:
            try:
                await self._stubs[service].Cancel(
                    request, metadata=self._metadata, timeout=_CANCEL_DEADLINE_S, wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                raise _domain_error(error) from error
        except (ExecutionNotFound, ServiceUnreachable):
            return False
        return True

    async def close(self) -> None:
        """Closes the channels; executions go on."""
        for channel in self._channels.values():
            await channel.close()


# A restarted service is found again within a second, not after the default back-off of up to two minutes.
_RECONNECT: Final[list[tuple[str, int]]] = [
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def _domain_error(error: grpc.aio.AioRpcError) -> RepairError:
    carried = error_of(error)
    if carried is not None:
        return carried
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
        return ServiceUnreachable(code=error.code().name)
    return RepairError(f"the service answered {error.code().name} without a reason")


def _event_of(event: execution_pb2.ExecutionEvent) -> Event:
    match event.WhichOneof("event"):
        case "started":
            return Started(event.started.attempt)
        case "progress":
            return messages.progress_of(event.progress)
        case "note":
            return Noted(event.note.phrase, event.note.fields_json)
        case "heartbeat":
            return messages.usage_of(event.heartbeat.usage)
        case "committed":
            return messages.result_of(event.committed)
        case _:
            raise RepairError("the service sent an event of an unknown kind")
